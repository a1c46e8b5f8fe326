"""`facegraph models`: lists the catalogue, fetches weights and verifies them."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from configs.catalogue import CATALOGUE, Model
from configs.spelling import did_you_mean
from deployments.errors import FaceGraphError, InvalidWeights
from deployments.weights import hub
from deployments.weights.checksums import CHECKSUMS, check_folder
from deployments.weights.find import find_weights, weights_folder
from graph.commands.models_add import add
from graph.commands.terminal import NO, AsJson, OptionalConfig, print_error, print_json, print_table

models_app = typer.Typer(
    no_args_is_help=True, help="List the models, fetch their weights, verify them, add your own."
)
models_app.command()(add)

# States of `verify` besides those of `FileCheck`: the file has no recorded checksum, SHA256SUMS
# cannot be read, the model has no weights and was not named.
UNRECORDED, UNREADABLE, ABSENT = "unrecorded", "unreadable", "absent"
_COMMERCIAL = {True: "yes", False: "no", None: "?"}
_FAULTS = ("changed", "missing", "unlisted", UNREADABLE)


def _known(model_id: str) -> str:
    if model_id not in CATALOGUE:
        close = did_you_mean(model_id, CATALOGUE)
        raise typer.BadParameter(f"no model {model_id!r}{close}; there are {', '.join(CATALOGUE)}")
    return model_id


def _all_known(ids: list[str] | None) -> list[str]:
    return list(dict.fromkeys(_known(model_id) for model_id in ids or ()))


def _ids_from(incomplete: str) -> list[str]:
    """The ids that the shell may complete the word to."""
    return [model_id for model_id in CATALOGUE if model_id.startswith(incomplete)]


@dataclass(frozen=True)
class Listed:
    """A model of the catalogue. path: of its weights; None if they are missing."""

    id: str
    what: str
    licence: str
    modelscope: str | None
    path: str | None
    commercial_use: bool | None = None
    threshold: float | None = None
    threshold_source: str | None = None
    embedding_size: int | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Verified:
    """The check of a model's file. expected, found: SHA-256 in hex, as recorded and as computed."""

    model: str
    file: str
    state: str
    expected: str | None = None
    found: str | None = None


@models_app.command("list")
def list_models(file: OptionalConfig = None, as_json: AsJson = False) -> None:
    """List every model with its licence, and tell whether its weights are there.

    commercial: whether the licence permits commercial use; ?: not stated. numbers: in an embedding.
    `--config` adds the models of a Serve config file. `--json` adds the models' paths, checksums
    and names on ModelScope.

    Examples:

    ```sh
    facegraph models list
    facegraph models list --config serve_config.yaml
    facegraph models list --json | jq -r '.[] | select(.path == null).id'
    ```
    """
    models = [_listed(model) for model in (*CATALOGUE.values(), *_own_models(file))]
    if as_json:
        print_json([asdict(model) for model in models])
        return
    rows = [
        (
            model.id,
            "there" if model.path else "missing",
            _COMMERCIAL[model.commercial_use],
            str(model.embedding_size or "-"),
            model.what,
            model.licence,
        )
        for model in models
    ]
    print_table(("id", "weights", "commercial", "numbers", "what", "licence"), rows)


@models_app.command()
def pull(
    ids: Annotated[
        list[str],
        typer.Argument(callback=_all_known, autocompletion=_ids_from, help="Models, by their ids."),
    ],
    again: Annotated[bool, typer.Option("--again", help="Replace what is there already.")] = False,
    revision: Annotated[str, typer.Option(help="The hub's branch, tag or commit.")] = hub.MASTER,
    as_json: AsJson = False,
) -> None:
    """Fetch weights from ModelScope's hub into the graph's folder; exit 1 if one failed.

    Examples:

    <!-- not run: needs ModelScope's hub -->
    ```sh
    facegraph models pull retinaface-r50 arcface-ir50
    facegraph models pull rts --again
    ```
    """
    models = [CATALOGUE[model_id] for model_id in ids]
    pulled = [(model, done) for model in models if (done := _pull(model, again, revision))]
    if as_json:
        print_json([_as_json(model, done) for model, done in pulled])
    else:
        for model, done in pulled:
            _print_pulled(model, done)
    if len(pulled) < len(models):
        raise typer.Exit(NO)


@models_app.command()
def verify(
    ids: Annotated[
        list[str] | None,
        typer.Argument(
            callback=_all_known,
            autocompletion=_ids_from,
            help="Models, by their ids; left out, all of them.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Verify weights by the SHA256SUMS beside them; exit 1 if one was changed or is missing.

    A model that is not named may be absent: that is no fault. `--json` adds the checksums.

    Examples:

    <!-- not run: needs the weights of RTS -->
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
        print_table(("id", "state", "file"), [(one.model, one.state, one.file) for one in files])
    if any(file.state in _FAULTS for file in files):
        raise typer.Exit(NO)


@models_app.command()
def path(
    model_id: Annotated[
        str, typer.Argument(metavar="ID", callback=_known, autocompletion=_ids_from)
    ],
    as_json: AsJson = False,
) -> None:
    """Print the path of the weights that a replica would load; exit 1 if there are none.

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
        print_error(error.message)
        raise typer.Exit(NO) from error
    if as_json:
        print_json({"id": model_id, "path": found})
    else:
        typer.echo(found)


def _own_models(file: Path | None) -> Iterable[Model]:
    if file is None:
        return ()
    from graph.cluster.serve_file import graph_config, read_serve_file  # loads Ray

    return graph_config(read_serve_file(file)).models.values()


def _listed(model: Model) -> Listed:
    found = _weights_path(model)
    where = None if found is None else str(found)
    return Listed(
        model.id,
        f"{model.kind}: {model.title}",
        model.licence,
        model.modelscope,
        where,
        commercial_use=model.commercial_use,
        threshold=model.threshold,
        threshold_source=model.threshold_source,
        embedding_size=model.embedding_size if model.kind == "recognizer" else None,
        sha256=model.sha256,
    )


def _pull(model: Model, again: bool, revision: str) -> hub.Pulled | None:
    """Fetch the weights; prints an error and returns None if that fails."""
    try:
        return hub.pull(model, again=again, revision=revision)
    except FaceGraphError as error:
        print_error(error.message)
        return None


def _as_json(model: Model, pulled: hub.Pulled) -> dict[str, Any]:
    return {
        "id": model.id,
        "folder": str(pulled.folder),
        "files": pulled.files,
        "fetched": pulled.fetched,
        "licence": model.licence,
    }


def _print_pulled(model: Model, pulled: hub.Pulled) -> None:
    done = "fetched" if pulled.fetched else "already there; --again fetches it anew"
    typer.echo(f"{model.id}: {', '.join(pulled.files)} in {pulled.folder} ({done})")
    typer.echo(f"{model.id}: licence: {model.licence}")


def _verified(model: Model, *, wanted: bool) -> Iterator[Verified]:
    """The checks of a model's files. wanted: the user named the model, so that it needs weights."""
    folder = weights_folder(model)
    try:
        checks = check_folder(folder, also=model.weights_files)
    except InvalidWeights as error:
        print_error(error.message)
        yield Verified(model.id, str(folder / CHECKSUMS), UNREADABLE)
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
