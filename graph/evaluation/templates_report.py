"""The report of `facegraph evaluate templates`."""

from collections.abc import Sequence

from deployments.errors import InvalidRequest
from graph.evaluation.comparison import (
    Evaluated,
    Pool,
    evaluate,
    figure_blocks,
    recognizer_cards,
    suggestions,
)
from graph.evaluation.enrolment import Enrolment
from graph.evaluation.figures import EvaluationOptions
from graph.evaluation.pairs import PairList, Templates, template_vectors
from graph.evaluation.report import Block, Card, Cards, Notes, Report, Table
from graph.evaluation.verification import PairScores
from graph.evaluation.verification_report import DEFINITIONS, FAILURE_POLICIES, failures_json

_TEMPLATES = (
    "A template's embedding: the embeddings of each medium's photos or frames are averaged, the"
    " media's averages added, and the sum brought to length 1. A template without any face is a"
    " failure; one with some faces is made of those."
)


def photos_of(templates: Templates, pairs: PairList) -> list[str]:
    """Every photo of the templates that the pairs name, once. Raises InvalidRequest for a template
    that is not listed."""
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
    """Raises NothingToMeasure where no genuine or no impostor pair can be compared."""
    evaluated = [_evaluated(pool, templates, pairs, enrolment, options) for pool in pools]
    empty = _empty(templates, pairs, enrolment)
    blocks: list[Block] = [
        Cards("At a glance", [*_counts(pairs, enrolment, empty), *recognizer_cards(evaluated)]),
        *figure_blocks(evaluated, options),
        *_failure_tables(enrolment, empty),
        Notes("How it was counted", [*DEFINITIONS, _TEMPLATES, FAILURE_POLICIES[options.failures]]),
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
) -> Evaluated:
    vectors = template_vectors(
        {name: templates[name] for name in pairs.members}, enrolment.vectors(pool.name)
    )
    scores = PairScores(pairs.cosines(vectors), pairs.same)
    return evaluate(pool, scores, pairs.folds, None, options)


def _empty(templates: Templates, pairs: PairList, enrolment: Enrolment) -> list[str]:
    """The templates of which no photo gave a face."""
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
            f"{int(same.sum()):,} of one person, {int((~same).sum()):,} of two;"
            f" {len(pairs.members):,} templates, {photos:,} photos",
        ),
        Card(
            "Photos without a face",
            f"{len(enrolment.failures):,}",
            f"{len(empty):,} templates have no face at all",
        ),
    ]


def _failure_tables(enrolment: Enrolment, empty: Sequence[str]) -> list[Block]:
    blocks: list[Block] = []
    if enrolment.failures:
        rows = [(failure.photo, failure.code, failure.message) for failure in enrolment.failures]
        columns = ("Photo", "Code", "Why")
        blocks.append(Table("Photos that gave no face", columns, rows, text=True))
    if empty:
        rows_of_names = [(name,) for name in empty]
        blocks.append(Table("Templates without a face", ("Template",), rows_of_names, text=True))
    return blocks
