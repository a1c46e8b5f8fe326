"""The report of `facegraph evaluate detection`."""

from collections.abc import Mapping, Sequence

import numpy as np

from graph.evaluation.detection import FoundBoxes, PrecisionRecall, photo_errors, precision_recall
from graph.evaluation.enrolment import Failure
from graph.evaluation.plots import precision_plot
from graph.evaluation.report import (
    Block,
    Card,
    Cards,
    Notes,
    Plots,
    Report,
    Table,
    failure_table,
    failures_json,
)
from graph.evaluation.wider import WiderSet

_PROTOCOL = (
    "WIDER FACE's protocol: a box detects the face that it overlaps most, if the IoU is at least"
    " 0.5; a second box on a face is a false positive. Scores are normalised over the whole set;"
    " precision and recall are computed at 1000 thresholds; AP is the area under the precision"
    " envelope.",
    "Faces outside of a setting are ignored: they are not missed, and boxes on them are no false"
    " positives. Photos without any face do not count.",
)
_OFFICIAL = "Easy, medium and hard are the published lists."
_BY_HEIGHT = (
    "Easy, medium and hard need wider_easy_val.mat, wider_medium_val.mat and wider_hard_val.mat:"
    " these lists were made from the recall of a proposal method. The groups here are heights in"
    " pixels; their AP is not comparable with published figures. Faces marked invalid are ignored."
)
_CURVE_POINTS = 100
_WORST_PHOTOS = 10


def detection_report(
    known: WiderSet,
    found: Mapping[str, FoundBoxes],
    failures: Sequence[Failure],
    facts: Sequence[tuple[str, str]],
) -> Report:
    """Compute AP in every setting and report. found: by photo; an absent photo has no boxes."""
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
            ("Setting", "Faces", "AP", "Highest recall", "Precision there"),
            [_row(name, curve) for name, curve in curves.items()],
        ),
        Plots("Plots", [precision_plot(shown)]),
        *_worst_photos(known, boxes),
        *failure_table(
            "Photos that could not be read",
            failures,
            "They count as photos without a box: their faces are missed.",
        ),
        Notes("Definitions", notes),
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
        f"The lowest score of a box is {lowest:.3f}: the curve ends at the detector's"
        " score_threshold. Published figures are made with thresholds near 0.01: set"
        " score_threshold as low, and drop_below_px to 0, in the profile of the evaluated graph."
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
        Card("Photos", f"{len(boxes):,}", f"{unread}; {faces:,} true faces, {found:,} boxes"),
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
    """The photos with most missed faces, then with most false positives, in the widest setting."""
    setting = known.settings[-1] if known.official else known.settings[0]
    rows = [
        (photo, *photo_errors(faces, found, setting), int(faces.settings[setting].sum()))
        for (photo, faces), found in zip(known.faces.items(), boxes, strict=True)
    ]
    worst = sorted((row for row in rows if row[1] or row[2]), key=lambda row: (-row[1], -row[2]))
    if not worst:
        return []
    columns = ("Photo", "Faces", "Missed", "False positives")
    cells = [
        (photo, str(faces), str(missed), str(false))
        for photo, missed, false, faces in worst[:_WORST_PHOTOS]
    ]
    return [Table("Photos with most errors", columns, cells, f"Setting: {setting}; all boxes.")]


def _json(curve: PrecisionRecall) -> dict[str, object]:
    shown = np.linspace(0, len(curve.recall) - 1, _CURVE_POINTS).astype(np.int64)
    return {
        "faces": curve.faces,
        "average_precision": curve.average_precision if curve.faces else None,
        "precision": curve.precision[shown].tolist(),
        "recall": curve.recall[shown].tolist(),
    }
