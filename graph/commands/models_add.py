"""`facegraph models add`: entries for files of one's own, written into a Serve config file."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml
from yaml.nodes import MappingNode, Node

from configs.catalogue import Model
from configs.files import write_atomically
from deployments.errors import InvalidConfig, InvalidWeights
from graph.commands.terminal import (
    NO,
    AsJson,
    OptionalConfig,
    print_error,
    print_json,
    print_line,
    print_progress,
)

if TYPE_CHECKING:
    from graph.evaluation.classifier_proposal import Told
    from graph.evaluation.proposal import Proposal


def add(
    path: Annotated[Path, typer.Argument(exists=True, help="ONNX file, or a folder of them.")],
    model_id: Annotated[
        str | None, typer.Option("--id", help="Id of a file's entry; left out, its name.")
    ] = None,
    labels: Annotated[
        list[str] | None,
        typer.Option("--label", help="Of a classifier: the name of each output, in order."),
    ] = None,
    scale: Annotated[
        float | None,
        typer.Option(min=1, max=8, help="Of a classifier: sides of its area, in sides of a face."),
    ] = None,
    normalisation: Annotated[
        str | None,
        typer.Option(help="Of a classifier: that of its chips, such as `(RGB - 127.5) / 127.5`."),
    ] = None,
    file: OptionalConfig = None,
    as_json: AsJson = False,
) -> None:
    """Inspect ONNX files and propose their entries of the section `models`.

    A recognizer's normalisation is found by trying the usual ones on the bundled photos: two photos
    of one person are close, those of others apart. Files of InsightFace's packs, of OpenCV Zoo and
    of Silent-Face-Anti-Spoofing are known by their names. Another classifier's labels, scale and
    normalisation are in no file: give them. `--config` writes the entries into a Serve config file;
    else they are printed. Exit 1 if there is none.

    Examples:

    <!-- not run: needs files of one's own -->
    ```sh
    facegraph models add own.onnx
    facegraph models add ~/.insightface/models/buffalo_l --config mine.yaml
    facegraph models add mask.onnx --label mask --scale 1.2 --normalisation "(RGB - 0) / 255"
    ```
    """
    told = _told(labels or (), scale, normalisation)
    found = _proposals(path, model_id, told)
    if not found:
        raise typer.Exit(NO)
    models = [proposal.model for proposal in found]
    if file:
        write_atomically(file, _checked(with_models(file.read_text(), models)))
    if as_json:
        print_json([_as_json(proposal) for proposal in found])
        return
    for proposal in found:
        _print_trials(proposal)
    if file:
        print_line(f"{file}: {', '.join(model.id for model in models)} under models")
    else:
        typer.echo(models_yaml(models), nl=False)


def _told(labels: Sequence[str], scale: float | None, normalisation: str | None) -> "Told":
    from graph.evaluation.classifier_proposal import Told
    from graph.evaluation.proposal import USUAL  # loads ONNX Runtime and OpenCV

    if normalisation and normalisation not in USUAL:
        raise typer.BadParameter(f"--normalisation: one of {', '.join(USUAL)}")
    preprocessing = USUAL[normalisation] if normalisation else None
    return Told(tuple(labels), scale, preprocessing)


def _proposals(path: Path, model_id: str | None, told: "Told") -> "list[Proposal]":
    """The file's proposal, or those of the folder's files; prints why others have none."""
    files = sorted(path.glob("*.onnx")) if path.is_dir() else [path]
    if not files:
        print_error(f"{path}: no ONNX file (.onnx)")
    name = model_id if path.is_file() else None
    return [found for one in files if (found := _proposal(one, name, told))]


def _proposal(file: Path, model_id: str | None, told: "Told") -> "Proposal | None":
    """The file's proposal; prints why it has none."""
    from graph.evaluation.proposal import propose  # loads ONNX Runtime and OpenCV

    try:
        return propose(file, model_id=model_id, told=told)
    except InvalidWeights as error:
        print_error(error.message)
        return None


def models_yaml(models: Sequence[Model]) -> str:
    """The section `models` with these entries."""
    return yaml.safe_dump({"models": _entries(models)}, sort_keys=False, width=100)


def with_models(text: str, models: Sequence[Model]) -> str:
    """The Serve config `text` with these entries, its other characters unchanged.

    Raises InvalidConfig if its first FaceGraph application has no `args` in block style, or has a
    model of the id.
    """
    args = _args(yaml.compose(text, Loader=yaml.SafeLoader))
    present = _value(args, "models")
    inside = isinstance(present, MappingNode) and bool(present.value) and not present.flow_style
    if present is not None and not inside:
        raise InvalidConfig("models: expected a mapping in block style; write one, or remove it")
    taken = {key.value for key, _ in present.value} if present else ()
    for model in models:
        if model.id in taken:
            raise InvalidConfig(f"models.{model.id}: the file has one; take another with --id")
    added = _entries(models) if inside else {"models": _entries(models)}
    first = (present if inside and present else args).value[0][0].start_mark
    lines = yaml.safe_dump(added, sort_keys=False, width=100).splitlines()
    indented = f"\n{' ' * first.column}".join([*lines, ""])
    return text[: first.index] + indented + text[first.index :]


def _entries(models: Sequence[Model]) -> dict[str, Any]:
    return {
        model.id: model.model_dump(mode="json", exclude_defaults=True, exclude={"id"})
        for model in models
    }


def _args(root: Node | None) -> MappingNode:
    applications = _value(root, "applications")
    for application in applications.value if applications else ():
        args = _value(application, "args")
        if isinstance(args, MappingNode) and args.value and not args.flow_style:
            return args
    raise InvalidConfig("applications: none has args in block style; write some, then try again")


def _value(node: Node | None, name: str) -> Node | None:
    items = node.value if isinstance(node, MappingNode) else ()
    return next((value for key, value in items if key.value == name), None)


def _checked(text: str) -> str:
    from graph.cluster.serve_file import graph_configs  # loads Ray

    graph_configs(yaml.safe_load(text))
    return text


def _as_json(proposal: "Proposal") -> dict[str, Any]:
    trials = [{**vars(trial), "margin": trial.margin} for trial in proposal.trials]
    return {"model": proposal.model.model_dump(mode="json"), "trials": trials}


def _print_trials(proposal: "Proposal") -> None:
    model = proposal.model
    print_progress(f"{model.id}: {_form(model)} {model.kind}")
    for trial in proposal.trials:
        print_progress(
            f"  {trial.name}: one person {trial.same:.3f}, different people up to"
            f" {trial.highest:.3f}"
        )


def _form(model: Model) -> str:
    """What the file was taken for, in a word or two."""
    if model.classification:
        return f"{', '.join(model.classification.labels)} ({model.classification.activation})"
    return model.family or f"{model.embedding_size} numbers"
