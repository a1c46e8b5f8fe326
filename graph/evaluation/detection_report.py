"""The report of `facegraph evaluate detection`."""

from collections.abc import Mapping, Sequence

import numpy as np

from graph.evaluation.detection import FoundBoxes, PrecisionRecall, photo_errors, precision_recall
from graph.evaluation.enrolment import Failure
from graph.evaluation.plots import precision_plot
from graph.evaluation.report import Block, Card, Cards, Notes, Pictures, Report, Table
from graph.evaluation.verification_report import failures_json
from graph.evaluation.wider import WiderSet

_PROTOCOL = (
    "WIDER FACE's protocol: a box finds the face that it overlaps most, from an IoU of 0.5 on; a"
    " second box on a face is a false positive. Scores are normalised over the whole set; precision"
    " and recall are taken at 1000 thresholds; AP is the area under the precision, made falling.",
    "Faces outside of a setting are ignored: they count neither as missed, nor do boxes on them"
    " count as false. Photos without any face do not count.",
)
_OFFICIAL = "Easy, medium and hard are the published lists."
_BY_HEIGHT = (
    "Without wider_easy_val.mat, wider_medium_val.mat and wider_hard_val.mat there is no easy,"
    " medium and hard: those were found by how well a proposal method does on each face, and are"
    " only in the lists. The groups here are of heights in pixels, and their AP is not comparable"
    " with published ones. Faces marked invalid are ignored."
)
_CURVE_POINTS = 100
_WORST_PHOTOS = 10


def detection_report(
    known: WiderSet,
    found: Mapping[str, FoundBoxes],
    failures: Sequence[Failure],
    facts: Sequence[tuple[str, str]],
) -> Report:
    """found: by photo; a photo that is not in it has no boxes."""
    nothing = FoundBoxes(np.zeros((0, 4)), np.zeros(0))
    truth = list(known.faces.values())
    boxes = [found.get(photo, nothing) for photo in known.faces]
    curves = {name: precision_recall(truth, boxes, name) for name in known.settings}
    shown = {name: curve for name, curve in curves.items() if curve.faces}
    lowest = min((float(entry.scores[-1]) for entry in boxes if len(entry.scores)), default=None)
    notes = [*_PROTOCOL, _OFFICIAL if known.official else _BY_HEIGHT]
    if lowest is not None:
        notes.append(_cut_off(lowest))
    blocks: list[Block] = [
        Cards("At a glance", _cards(known, boxes, curves, failures)),
        Table(
            "Average precision",
            ("Setting", "Faces", "AP", "Most recall", "Precision there"),
            [_row(name, curve) for name, curve in curves.items()],
        ),
        Pictures("Pictures", [precision_plot(shown)]),
        *_worst_photos(known, boxes),
        *_failure_table(failures),
        Notes("How it was counted", notes),
    ]
    figures = {
        "photos": len(truth),
        "boxes": sum(len(entry.scores) for entry in boxes),
        "lowest_score": lowest,
        "official_settings": known.official,
        "failures": failures_json(failures),
        "settings": {name: _json(curve) for name, curve in curves.items()},
    }
    return Report("Face detection", facts, blocks, {}, figures)


def _cut_off(lowest: float) -> str:
    return (
        f"The lowest score of a box is {lowest:.3f}: the detector's score_threshold ends the"
        " curve there. Published figures are made with thresholds near 0.01; set it so low, and"
        " min_face_px to 0, in the profile of a graph for evaluation."
    )


def _cards(
    known: WiderSet,
    boxes: Sequence[FoundBoxes],
    curves: Mapping[str, PrecisionRecall],
    failures: Sequence[Failure],
) -> list[Card]:
    faces = sum(len(entry.boxes) for entry in known.faces.values())
    found = sum(len(entry.scores) for entry in boxes)
    unread = f"{len(failures):,} could not be read" if failures else "all were read"
    return [
        Card("Photos", f"{len(boxes):,}", f"{unread}; {faces:,} faces known, {found:,} boxes"),
        *(
            Card(f"AP {name}", f"{curve.average_precision:.3f}", f"{curve.faces:,} faces")
            for name, curve in curves.items()
            if curve.faces
        ),
    ]


def _row(name: str, curve: PrecisionRecall) -> tuple[str, ...]:
    if not curve.faces:
        return name, "0", "-", "-", "-"
    return (
        name,
        f"{curve.faces:,}",
        f"{curve.average_precision:.4f}",
        f"{curve.recall[-1]:.3f}",
        f"{curve.precision[-1]:.3f}",
    )


def _worst_photos(known: WiderSet, boxes: Sequence[FoundBoxes]) -> list[Block]:
    """Where most faces are missed, then where most boxes are false; in the widest setting."""
    setting = known.settings[-1] if known.official else known.settings[0]
    rows = [
        (photo, *photo_errors(faces, found, setting), int(faces.settings[setting].sum()))
        for (photo, faces), found in zip(known.faces.items(), boxes, strict=True)
    ]
    worst = sorted((row for row in rows if row[1] or row[2]), key=lambda row: (-row[1], -row[2]))
    if not worst:
        return []
    columns = ("Photo", "Faces", "Missed", "False boxes")
    cells = [
        (photo, str(faces), str(missed), str(false))
        for photo, missed, false, faces in worst[:_WORST_PHOTOS]
    ]
    return [Table("Photos with most errors", columns, cells, f"Setting: {setting}; every box.")]


def _failure_table(failures: Sequence[Failure]) -> list[Block]:
    if not failures:
        return []
    rows = [(failure.photo, failure.code, failure.message) for failure in failures]
    note = "They count as photos without a box: their faces are missed."
    columns = ("Photo", "Code", "Why")
    return [Table("Photos that could not be read", columns, rows, note, text=True)]


def _json(curve: PrecisionRecall) -> dict[str, object]:
    shown = np.linspace(0, len(curve.recall) - 1, _CURVE_POINTS).astype(np.int64)
    return {
        "faces": curve.faces,
        "average_precision": curve.average_precision if curve.faces else None,
        "precision": curve.precision[shown].tolist(),
        "recall": curve.recall[shown].tolist(),
    }
