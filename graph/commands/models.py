"""`facegraph models`: the catalogue, where its weights are, fetching and checking them."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from configs.catalogue import CATALOGUE, Model
from deployments.errors import FaceGraphError, InvalidWeights
from deployments.weights import hub
from deployments.weights.checksums import RECORDS, check_folder
from deployments.weights.find import find_weights
from graph.commands.terminal import AsJson, print_error, print_json, print_table

models_app = typer.Typer(
    no_args_is_help=True, help="List the models, fetch their weights, check them."
)

# What `verify` says beside ok, changed, missing and unlisted: there is no record to hold the file
# against, the record makes no sense, or there are no weights and nobody asked for them.
UNRECORDED, UNREADABLE, ABSENT = "unrecorded", "unreadable", "absent"
_FAULTS = ("changed", "missing", "unlisted", UNREADABLE)


def _known(model_id: str) -> str:
    if model_id not in CATALOGUE:
        raise typer.BadParameter(f"no model {model_id!r}; there are {', '.join(CATALOGUE)}")
    return model_id


def _all_known(ids: list[str] | None) -> list[str]:
    return list(dict.fromkeys(_known(model_id) for model_id in ids or ()))


@dataclass(frozen=True)
class Listed:
    """A model and its weights: `path` is None where they are missing."""

    id: str
    what: str
    licence: str
    modelscope: str | None
    path: str | None


@dataclass(frozen=True)
class Pulled:
    id: str
    folder: str
    files: tuple[str, ...]
    fetched: bool
    licence: str


@dataclass(frozen=True)
class Verified:
    """A model's file, by its path; digests are SHA-256 in hex, None where there is none."""

    model: str
    file: str
    state: str
    expected: str | None = None
    found: str | None = None


@models_app.command("list")
def list_models(as_json: AsJson = False) -> None:
    """Every model: what it is, its licence, where its weights are.

    Examples:

    ```sh
    facegraph models list
    facegraph models list --json | jq -r '.[] | select(.path == null).id'
    ```
    """
    models = [_listed(model) for model in CATALOGUE.values()]
    if as_json:
        print_json([asdict(model) for model in models])
        return
    rows = [(model.id, model.what, model.licence, model.path or "missing") for model in models]
    print_table(("id", "what", "licence", "weights"), rows, whole=("id",))


@models_app.command()
def pull(
    ids: Annotated[list[str], typer.Argument(callback=_all_known, help="Models, by their ids.")],
    again: Annotated[bool, typer.Option("--again", help="Replace what is there already.")] = False,
    revision: Annotated[str, typer.Option(help="The hub's branch, tag or commit.")] = hub.MASTER,
    as_json: AsJson = False,
) -> None:
    """Fetch weights from ModelScope's hub, to where the graph looks for them; exit 1 if one failed.

    Examples:

    ```sh
    facegraph models pull retinaface-r50 arcface-ir50
    facegraph models pull rts --again
    ```
    """
    found = [_pull(CATALOGUE[model_id], again, revision) for model_id in ids]
    pulled = [entry for entry in found if entry]
    if as_json:
        print_json([asdict(entry) for entry in pulled])
    else:
        for entry in pulled:
            _print_pulled(entry)
    if len(pulled) < len(ids):
        raise typer.Exit(1)


@models_app.command()
def verify(
    ids: Annotated[
        list[str] | None,
        typer.Argument(callback=_all_known, help="Models, by their ids; left out, all of them."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Hold weights against the SHA256SUMS beside them; exit 1 if one was changed or is missing.

    Of models that are not named, those without any weights are absent, which is no fault.

    Examples:

    ```sh
    facegraph models verify
    facegraph models verify rts --json
    ```
    """
    models = [CATALOGUE[model_id] for model_id in ids or CATALOGUE]
    files = [file for model in models for file in _verified(model, wanted=bool(ids))]
    if as_json:
        print_json([asdict(file) for file in files])
    else:
        rows = [(file.model, file.state, file.file, file.found or "") for file in files]
        print_table(("id", "state", "file", "SHA-256"), rows, whole=("id", "state"))
    if any(file.state in _FAULTS for file in files):
        raise typer.Exit(1)


@models_app.command()
def path(
    model_id: Annotated[str, typer.Argument(metavar="ID", callback=_known)],
    as_json: AsJson = False,
) -> None:
    """Print the file that would be loaded; exit 1 if there is none.

    Examples:

    ```sh
    facegraph models path arcface-mbf
    ```
    """
    try:
        found = str(find_weights(CATALOGUE[model_id], None).path)
    except FaceGraphError as error:
        if as_json:
            print_json({"id": model_id, "path": None, "error": error.message})
        raise _failure(error) from error
    if as_json:
        print_json({"id": model_id, "path": found})
    else:
        typer.echo(found)


def _listed(model: Model) -> Listed:
    found = _weights_path(model)
    where = None if found is None else str(found)
    return Listed(model.id, f"{model.kind}: {model.title}", model.licence, model.modelscope, where)


def _pull(model: Model, again: bool, revision: str) -> Pulled | None:
    try:
        done = hub.pull(model, again=again, revision=revision)
    except FaceGraphError as error:
        print_error(error.message)
        return None
    return Pulled(model.id, str(done.folder), tuple(done.files), done.fetched, model.licence)


def _print_pulled(pulled: Pulled) -> None:
    done = "fetched" if pulled.fetched else "already there; --again fetches it anew"
    typer.echo(f"{pulled.id}: {', '.join(pulled.files)} in {pulled.folder} ({done})")
    typer.echo(f"{pulled.id}: licence: {pulled.licence}")


def _verified(model: Model, *, wanted: bool) -> Iterator[Verified]:
    """The model's files. No weights at all are a fault only of a model that was `wanted`."""
    folder = hub.weights_folder(model)
    try:
        checks = check_folder(folder, also=model.weights_files)
    except InvalidWeights as error:
        print_error(error.message)
        yield Verified(model.id, str(folder / RECORDS), UNREADABLE)
        return
    for check in checks:
        where = str(folder / check.name)
        yield Verified(model.id, where, check.state, check.expected, check.found)
    found = _weights_path(model)
    if found is None and not any(check.name in model.weights_files for check in checks):
        expected = str(folder / model.weights_file)
        yield Verified(model.id, expected, "missing" if wanted or checks else ABSENT)
    elif found is not None and not checks:
        yield Verified(model.id, str(found), UNRECORDED)


def _weights_path(model: Model) -> Path | None:
    try:
        return find_weights(model, None).path
    except FaceGraphError:
        return None


def _failure(error: FaceGraphError) -> typer.Exit:
    print_error(error.message)
    return typer.Exit(1)
