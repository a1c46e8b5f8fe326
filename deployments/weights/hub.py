"""Fetches published weights from ModelScope's hub, through ModelScope's own client."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import uuid4

from configs.catalogue import Model
from configs.extras import install_command
from deployments.errors import InvalidRequest, ModelUnavailable
from deployments.weights.checksums import read_checksums, verify_checksum, write_checksums
from deployments.weights.find import CONFIGURATION, weights_folder

# Downloads go here and are moved once all are complete: a later pull resumes an interrupted one,
# and weights are never searched for among incomplete files.
INCOMING = ".incoming"
MASTER = "master"


@dataclass(frozen=True, slots=True)
class Pulled:
    """The files that `pull` leaves in a model's folder. fetched: False if they were there."""

    folder: Path
    files: tuple[str, ...]
    fetched: bool


def pull(model: Model, *, again: bool = False, revision: str = MASTER) -> Pulled:
    """Fetch the model's weights and, if the hub has it, configuration.json; write SHA256SUMS.

    Files that are there already are not fetched, unless `again`. revision: the hub's branch, tag or
    commit.
    Raises InvalidRequest for a model that is not on ModelScope, InvalidWeights if a file that is
    there has changed, ModelUnavailable, naming the model and the cause, if the client is not
    installed or the files cannot be fetched.
    """
    folder = weights_folder(model)
    if not again:
        present = _present(model, folder)
        if present:
            return Pulled(folder, present, fetched=False)
    names = _download(model, folder, revision)
    try:
        _install(names, folder, revision)
    except OSError as error:
        raise _unavailable(model, f"cannot keep the files in {folder}: {error}") from error
    return Pulled(folder, names, fetched=True)


def _present(model: Model, folder: Path) -> tuple[str, ...]:
    """The names of the files that are there, verified; empty if the weights are missing."""
    weights = [name for name in model.weights_files if (folder / name).is_file()]
    if not weights:
        return ()
    names = list(dict.fromkeys([*weights[:1], *(read_checksums(folder) or ())]))
    for name in names:
        verify_checksum(folder / name, model=model)
    return tuple(names)


def _download(model: Model, folder: Path, revision: str) -> tuple[str, ...]:
    if model.modelscope is None:
        raise InvalidRequest(
            f"{model.id} is not on ModelScope; {model.remedy}",
            model=model.id,
        )
    wanted, incoming = (model.weights_file, CONFIGURATION), _incoming(folder, revision)
    client = _client(model)
    try:
        client.HubApi(_configuration(client)).download_repo(
            model.modelscope,
            "model",
            revision=revision,
            cache_dir=incoming,
            local_dir=incoming,
            allow_patterns=list(wanted),
        )
    except (client.HubError, OSError) as error:
        cause = "; ".join(line.strip(" -") for line in str(error).splitlines())
        raise _unavailable(model, f"cannot fetch {model.modelscope}: {cause}") from error
    names = tuple(name for name in wanted if (incoming / name).is_file())
    if model.weights_file not in names:
        missing = f"{model.modelscope} has no {model.weights_file} at {revision}"
        raise _unavailable(model, missing)
    return names


def _client(model: Model) -> ModuleType:
    try:
        return import_module("modelscope_hub")
    except ImportError as error:
        cause = f"ModelScope's client is not installed; {install_command('modelscope')}"
        raise _unavailable(model, cause) from error


def _configuration(client: ModuleType) -> Any:
    """The client's configuration, from the environment and the user's token.

    Every request names a session id. The client's own is made once and kept in ~/.modelscope.
    """

    class Anonymous(client.HubConfig):  # type: ignore[misc, name-defined]
        def get_session_id(self) -> str:
            return uuid4().hex

    return Anonymous()


def _install(names: Sequence[str], folder: Path, revision: str) -> None:
    for name in names:
        os.replace(_incoming(folder, revision) / name, folder / name)
    write_checksums(folder, names)
    shutil.rmtree(folder / INCOMING, ignore_errors=True)


def _incoming(folder: Path, revision: str) -> Path:
    """The folder of one revision's incomplete files, so that revisions do not mix."""
    return folder / INCOMING / f"@{revision.replace('/', '--')}"


def _unavailable(model: Model, cause: str) -> ModelUnavailable:
    return ModelUnavailable(f"{model.id}: {cause}", model=model.id)
