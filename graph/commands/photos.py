"""`facegraph compare` and `facegraph detect`: photos sent to a running or a private graph."""

from pathlib import Path
from typing import Annotated

import typer

from deployments.contracts import FaceChoice
from graph.commands.terminal import (
    DEFAULT_FILE,
    NO,
    ApiKey,
    AsJson,
    ConfigOption,
    RecognizerNames,
    Url,
    open_graph,
    print_json,
    print_table,
    writable_file,
)
from graph.schemas import CompareResponse, DetectResponse, Face, Liveness, LivenessPhotos

# Columns of `_fitness`.
_FITNESS = ("roll", "quality", "faults")
_OTHERS = {
    "source": "--source-face takes another",
    "target": "--faces all compares each",
}

PhotoFile = Annotated[
    Path,
    typer.Argument(
        exists=True, dir_okay=False, readable=True, help="A JPEG, PNG, WebP or BMP file."
    ),
]


def writable_picture(file: Path | None) -> Path | None:
    """Callback of a picture: refuses a picture that cannot be written, before the work starts."""
    if file:
        import cv2

        if not cv2.haveImageWriter(str(file)):
            raise typer.BadParameter(f"{file}: expected a name that ends in .png or .jpg")
    return writable_file(file)


def compare(
    source: PhotoFile,
    target: PhotoFile,
    recognizers: RecognizerNames = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=-1, max=1, help="Cosine from which faces match; left out, the recognizer's."
        ),
    ] = None,
    faces: Annotated[
        FaceChoice,
        typer.Option(help="Compare with the target's largest face, or with each of its faces."),
    ] = "largest",
    source_face: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="The source's face to compare, by its number in `facegraph detect`; left out, the"
            " largest.",
        ),
    ] = None,
    liveness: Annotated[
        LivenessPhotos | None,
        typer.Option(help="Decide whether the faces of both photos, or of one, are live."),
    ] = None,
    url: Url = None,
    api_key: ApiKey = None,
    file: ConfigOption = DEFAULT_FILE,
    as_json: AsJson = False,
) -> None:
    """Tell whether the largest faces of two photos are the same person's.

    Exit code: 0 match, 1 no match, too uncertain or not live, 2 it could not be done.

    Examples:

    ```sh
    facegraph compare passport.jpg selfie.jpg
    facegraph compare portrait.jpg group.jpg --faces all --json
    facegraph compare passport.jpg selfie.jpg --url http://faces:8000 -r arcface --threshold 0.4
    ```
    """
    with open_graph(url, api_key=api_key, file=file, recognizers=recognizers or ()) as graph:
        answer = graph.compare(
            source,
            target,
            recognizers=recognizers or None,
            threshold=threshold,
            faces=faces,
            source_face=source_face,
            liveness=liveness or False,
        )
        if as_json:
            print_json(answer)
        else:
            _print_comparison(answer)
    if not answer.matched:
        raise typer.Exit(NO)


def detect(
    photo: PhotoFile,
    draw: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False,
            callback=writable_picture,
            help="Write the photo with its faces marked, as PNG or JPEG.",
        ),
    ] = None,
    attributes: Annotated[
        list[str] | None,
        typer.Option(
            "--attribute",
            "-a",
            help="A classifier pool that judges each face; may be given several times.",
        ),
    ] = None,
    url: Url = None,
    api_key: ApiKey = None,
    file: ConfigOption = DEFAULT_FILE,
    as_json: AsJson = False,
) -> None:
    """Find every face of a photo.

    Shows each face's score, box, roll (degrees turned clockwise), quality (0 to 1) and faults, by
    falling score; `--json` adds the landmarks.

    Exit code: 0 there are faces, 1 there is none, 2 it could not be done.

    Examples:

    ```sh
    facegraph detect group.jpg --draw faces.png
    facegraph detect group.jpg --json --url http://faces:8000 | jq '.faces | length'
    ```
    """
    with open_graph(url, api_key=api_key, file=file) as graph:
        answer = graph.detect(photo, attributes=attributes)
        if draw:
            _draw(photo, answer, draw)
        if as_json:
            print_json(answer)
        else:
            _print_faces(answer)
    if not answer.faces:
        raise typer.Exit(NO)


def _print_comparison(answer: CompareResponse) -> None:
    typer.echo(
        f"{answer.decision}: similarity {answer.similarity:.3f}, threshold {answer.threshold:.3f}"
    )
    rows = [
        (name, f"{score.similarity:.3f}", f"{score.threshold:.3f}", score.decision)
        for name, score in answer.scores.items()
    ]
    if len(rows) > 1:
        print_table(("recognizer", "similarity", "threshold", "decision"), rows)
    for cause in answer.uncertain_because:
        typer.echo(cause)
    if len(answer.matches) > 1:
        matches = [
            (f"{match.similarity:.3f}", match.decision, box_text(match.face), *_fitness(match.face))
            for match in answer.matches
        ]
        print_table(("similarity", "decision", "box: x1 y1 x2 y2", *_FITNESS), matches)
    else:
        faces = [
            (photo, box_text(face), *_fitness(face))
            for photo, face in (("source", answer.source), ("target", answer.target))
        ]
        print_table(("photo", "box: x1 y1 x2 y2", *_FITNESS), faces)
    for photo, face in (("source", answer.source), ("target", answer.target)):
        if face.liveness:
            typer.echo(liveness_text(photo, face.liveness))
    for photo, count in answer.ambiguous.items():
        typer.echo(
            f"The {photo} has {count} faces of about the same size: the largest was compared;"
            f" {_OTHERS[photo]}."
        )


def liveness_text(photo: str, found: Liveness) -> str:
    score = "" if found.score is None else f" {found.score:.3f}, threshold {found.threshold:g}"
    return f"liveness of {photo}: {found.decision}{score}"


def _fitness(face: Face) -> tuple[str, str, str]:
    """Roll, quality and faults, as a table's cells."""
    roll = "" if face.roll is None else f"{face.roll:.0f}"
    quality = "" if face.quality is None else f"{face.quality:.2f}"
    return roll, quality, ", ".join(face.reasons)


def _print_faces(answer: DetectResponse) -> None:
    count = len(answer.faces)
    typer.echo(f"{count} {'face' if count == 1 else 'faces'}")
    if answer.faces:
        rows = [
            (str(index), f"{face.score:.3f}", box_text(face), *_fitness(face))
            for index, face in enumerate(answer.faces)
        ]
        columns = ("face", "score", "box: x1 y1 x2 y2", *_FITNESS)
        print_table(columns, rows, numbers=("face", "roll"))
    for index, face in enumerate(answer.faces):
        for name, attribute in face.attributes.items():
            found = attribute.uncertain_because or attribute.labels or ["none"]
            typer.echo(f"face {index}: {name}: {', '.join(found)}")


def box_text(face: Face) -> str:
    """`x1 y1 x2 y2` in whole pixels."""
    return " ".join(f"{value:.0f}" for value in face.box)


def _draw(photo: Path, answer: DetectResponse, picture: Path) -> None:
    from graph.commands.drawing import mark_faces, read_served_photo, write_picture

    write_picture(picture, mark_faces(read_served_photo(photo, answer.image), answer.faces))
