"""The report of `facegraph evaluate verification`, with contact sheets of the worst pairs."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from configs.limits import ImageLimits
from deployments.contracts import ByteArray, Photo
from deployments.images.alignment import align
from deployments.images.decode import read_photo
from graph.evaluation.comparison import (
    EvaluatedRecognizer,
    Pool,
    definitions,
    evaluate,
    figure_blocks,
    recognizer_cards,
    suggestions,
)
from graph.evaluation.discard import pair_quality, pair_uncertainty
from graph.evaluation.enrolment import Enrolment, Failure
from graph.evaluation.figures import EvaluationOptions
from graph.evaluation.pairs import PairList
from graph.evaluation.plots import sheet_plot
from graph.evaluation.quality_blocks import min_qualities, quality_blocks
from graph.evaluation.report import (
    Block,
    Card,
    Cards,
    Report,
    Sheet,
    SheetPair,
    Table,
    failures_json,
)
from graph.evaluation.verification import IntArray, PairScores, worst_pairs
from graph.schemas import Face

_JPEG_QUALITY = 80
# The graph has accepted every photo on a contact sheet under its own limits.
_NO_LIMITS = ImageLimits(max_bytes=2**62, max_pixels=2**62, max_pixels_in_flight=2**62)


@dataclass(frozen=True, slots=True)
class PairDataset:
    """A list of pairs and its photos. root: the photos' folder; worst: pairs per contact sheet."""

    pairs: PairList
    root: Path
    facts: Sequence[tuple[str, str]]
    worst: int


def verification_report(
    dataset: PairDataset, enrolment: Enrolment, pools: Sequence[Pool], options: EvaluationOptions
) -> Report:
    """Evaluate every recognizer and report. Raises NothingToMeasure if no genuine or no impostor
    pair is left."""
    evaluated = [_evaluated(pool, dataset.pairs, enrolment, options) for pool in pools]
    blocks: list[Block] = [
        Cards("At a glance", [*_counts(dataset, enrolment), *recognizer_cards(evaluated)]),
        *figure_blocks(evaluated, options),
        *quality_blocks(evaluated, options.far),
    ]
    for entry in evaluated:
        blocks += _sheets(entry, dataset, enrolment)
    blocks += failure_blocks(enrolment.failures, dataset.pairs)
    blocks.append(definitions(options))
    return Report(
        "Face verification",
        dataset.facts,
        blocks,
        suggestions(evaluated),
        {
            "pairs": len(dataset.pairs),
            "photos": len(dataset.pairs.members),
            "options": options.model_dump(mode="json"),
            "failures": failures_json(enrolment.failures),
            "recognizers": {entry.pool.name: entry.as_json() for entry in evaluated},
        },
        min_qualities=min_qualities(evaluated),
    )


def failure_blocks(failures: Sequence[Failure], pairs: PairList) -> list[Block]:
    """The table of failures to enrol, with the number of pairs of each photo."""
    if not failures:
        return []
    rows = [
        (
            failure.photo,
            failure.code,
            failure.message,
            str(int(pairs.involving([failure.photo]).sum())),
        )
        for failure in failures
    ]
    return [Table("Failures to enrol", ("Photo", "Code", "Reason", "Pairs"), rows, text=True)]


def _evaluated(
    pool: Pool, pairs: PairList, enrolment: Enrolment, options: EvaluationOptions
) -> EvaluatedRecognizer:
    scores = PairScores(pairs.cosines(enrolment.vectors(pool.name)), pairs.same)
    given = enrolment.uncertainties(pool.name)
    uncertainty = pair_uncertainty(*pairs.member_values(given)) if given else None
    quality = pair_quality(*pairs.member_values(enrolment.qualities(pool.name)))
    return evaluate(pool, scores, pairs.folds, uncertainty, options, quality)


def _counts(dataset: PairDataset, enrolment: Enrolment) -> list[Card]:
    same = dataset.pairs.same
    photos = len(dataset.pairs.members)
    failed = {failure.photo for failure in enrolment.failures}
    hit = same[dataset.pairs.involving(failed)]
    genuine = int(hit.sum())
    return [
        Card(
            "Pairs",
            f"{len(same):,}",
            f"{int(same.sum()):,} genuine, {int((~same).sum()):,} impostor; {photos:,} photos",
        ),
        Card(
            "Failures to enrol",
            f"{len(failed):,}",
            f"in {genuine:,} genuine and {len(hit) - genuine:,} impostor pairs",
        ),
    ]


def _sheets(entry: EvaluatedRecognizer, dataset: PairDataset, enrolment: Enrolment) -> list[Block]:
    genuine, impostors = worst_pairs(entry.pairs, dataset.worst)
    name = entry.pool.name
    kinds = (
        ("genuine", f"Genuine pairs with the lowest scores ({name})", genuine),
        ("impostor", f"Impostor pairs with the highest scores ({name})", impostors),
    )
    return [
        _sheet(f"{kind}-{name}", title, indices, entry, dataset, enrolment)
        for kind, title, indices in kinds
        if len(indices)
    ]


def _sheet(
    name: str,
    title: str,
    indices: IntArray,
    entry: EvaluatedRecognizer,
    dataset: PairDataset,
    enrolment: Enrolment,
) -> Sheet:
    pairs, rows = [], []
    for index in indices:
        names, score = dataset.pairs.names(index), float(entry.pairs.scores[index])
        first, second = (chip_of(dataset.root / photo, enrolment.faces[photo]) for photo in names)
        wrong = (score >= entry.suggested_threshold) != bool(entry.pairs.same[index])
        text = f"{score:.3f}"
        rows.append((first, second, text))
        pairs.append(SheetPair(text, data_url(first), data_url(second), *names, wrong))
    note = f"Decisions are made at the suggested threshold, {entry.suggested_threshold:.4f}."
    return Sheet(title, pairs, sheet_plot(name, title, rows), note)


def chip_of(path: Path, face: Face) -> ByteArray:
    """The face, aligned as for ArcFace's recognizers: uint8 [112,112,3] BGR."""
    pixels = read_photo(Photo("image", path.read_bytes()), _NO_LIMITS)
    return np.asarray(align(pixels, np.asarray([face.landmarks], np.float32))[0], np.uint8)


def data_url(chip: ByteArray) -> str:
    """The chip as a JPEG data URL."""
    _, encoded = cv2.imencode(".jpg", chip, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.tobytes()).decode()}"
