"""The report of `facegraph evaluate templates`."""

from collections.abc import Sequence

from deployments.errors import InvalidRequest
from graph.evaluation.comparison import (
    EvaluatedRecognizer,
    Pool,
    definitions,
    evaluate,
    figure_blocks,
    recognizer_cards,
    suggestions,
)
from graph.evaluation.enrolment import Enrolment
from graph.evaluation.figures import EvaluationOptions
from graph.evaluation.pairs import PairList, Templates, template_vectors
from graph.evaluation.report import Block, Card, Cards, Report, Table, failure_table, failures_json
from graph.evaluation.verification import PairScores

_TEMPLATES = (
    "Template embedding: the embeddings of each medium's photos or frames are averaged, these"
    " averages are added, and the sum is normalised to length 1. A template without any face is a"
    " failure to enrol; photos without a face are left out of their template."
)


def photos_of(templates: Templates, pairs: PairList) -> list[str]:
    """Every photo of the templates in the pairs, once. Raises InvalidRequest for a template that is
    not listed."""
    unknown = [name for name in pairs.members if name not in templates]
    if unknown:
        raise InvalidRequest(f"template {unknown[0]!r} is in the pairs, not among the templates")
    return list(dict.fromkeys(item.photo for name in pairs.members for item in templates[name]))


def templates_report(
    templates: Templates,
    pairs: PairList,
    enrolment: Enrolment,
    pools: Sequence[Pool],
    options: EvaluationOptions,
    facts: Sequence[tuple[str, str]],
) -> Report:
    """Evaluate every recognizer and report. Raises NothingToMeasure if no genuine or no impostor
    pair is left."""
    evaluated = [_evaluated(pool, templates, pairs, enrolment, options) for pool in pools]
    empty = _empty(templates, pairs, enrolment)
    blocks: list[Block] = [
        Cards("At a glance", [*_counts(pairs, enrolment, empty), *recognizer_cards(evaluated)]),
        *figure_blocks(evaluated, options),
        *failure_table("Failures to enrol", enrolment.failures),
        *_empty_table(empty),
        definitions(options, _TEMPLATES),
    ]
    figures = {
        "pairs": len(pairs),
        "templates": len(pairs.members),
        "options": options.model_dump(mode="json"),
        "failures": failures_json(enrolment.failures),
        "templates_without_a_face": empty,
        "recognizers": {entry.pool.name: entry.as_json() for entry in evaluated},
    }
    return Report("Face verification of templates", facts, blocks, suggestions(evaluated), figures)


def _evaluated(
    pool: Pool,
    templates: Templates,
    pairs: PairList,
    enrolment: Enrolment,
    options: EvaluationOptions,
) -> EvaluatedRecognizer:
    vectors = template_vectors(
        {name: templates[name] for name in pairs.members}, enrolment.vectors(pool.name)
    )
    scores = PairScores(pairs.cosines(vectors), pairs.same)
    return evaluate(pool, scores, pairs.folds, None, options)


def _empty(templates: Templates, pairs: PairList, enrolment: Enrolment) -> list[str]:
    """The templates without any face."""
    return [
        name
        for name in pairs.members
        if not any(item.photo in enrolment.faces for item in templates[name])
    ]


def _counts(pairs: PairList, enrolment: Enrolment, empty: Sequence[str]) -> list[Card]:
    same = pairs.same
    photos = len(enrolment.faces) + len(enrolment.failures)
    return [
        Card(
            "Pairs of templates",
            f"{len(same):,}",
            f"{int(same.sum()):,} genuine, {int((~same).sum()):,} impostor;"
            f" {len(pairs.members):,} templates, {photos:,} photos",
        ),
        Card(
            "Failures to enrol",
            f"{len(enrolment.failures):,}",
            f"photos; {len(empty):,} templates without any face",
        ),
    ]


def _empty_table(empty: Sequence[str]) -> list[Block]:
    rows = [(name,) for name in empty]
    return [Table("Templates without a face", ("Template",), rows, text=True)] if empty else []
