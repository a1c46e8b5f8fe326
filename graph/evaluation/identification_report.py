"""The report of `facegraph evaluate identification`."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deployments.gallery.contracts import Scoring
from graph.evaluation.comparison import Pool, far_text, models_table, percent, with_interval
from graph.evaluation.enrolment import Enrolment
from graph.evaluation.figures import Figure
from graph.evaluation.identification import (
    IdentificationOptions,
    Split,
    measured_sizes,
    search_galleries,
)
from graph.evaluation.identification_figures import (
    Extrapolation,
    FnirAtFpir,
    IdentificationFigures,
    Rates,
    ThresholdSuggestion,
    extrapolate,
    identification_figures,
)
from graph.evaluation.plots import Plot, det_plot
from graph.evaluation.report import (
    Block,
    Card,
    Cards,
    Code,
    Notes,
    Plots,
    Report,
    Table,
    failure_table,
    failures_json,
)
from graph.evaluation.verification import RULE_OF_30

_ROW = "Recognizer, persons, scoring"
_DEFINITIONS = (
    "A mated search is made with a photo of an enrolled person, a non-mated search with a photo of"
    " a person who is not enrolled; a photo stands for its largest face. Persons are drawn by"
    " --seed, and a smaller gallery is a part of the larger one. All cosines are computed.",
    "Rank k: fraction of the mated searches whose person is among the first k. FPIR: fraction of"
    " the non-mated searches that return any person at the threshold. FNIR: fraction of the mated"
    " searches whose person is not first or is below the threshold. Wrong person: mated searches"
    " whose first person is another one, at the threshold; they are part of the FNIR"
    " (ISO/IEC 19795-1; NIST, FRVT 1:N).",
    "Scoring: a person's similarity is that of the most similar face (best), or of the normalised"
    " mean of the embeddings (centroid).",
    "Intervals: 95%, of Wilson for rates at a threshold and at a rank, of a bootstrap for FNIR at"
    " FPIR. They take searches as independent; several photos of a person make them too narrow.",
)
_FAILURES = {
    "mismatch": "A search without a face, or of a person without an enrolled face, finds nobody.",
    "exclude": "Searches without a face, and of persons without an enrolled face, do not count.",
}


@dataclass(frozen=True, slots=True)
class PersonDataset:
    """Persons' photos, split. passed_over: the reason by name for files that are not used."""

    split: Split
    passed_over: Mapping[str, str]
    facts: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class EvaluatedPool:
    """A recognizer's figures by scoring, each for the measured sizes, and for larger galleries."""

    pool: Pool
    figures: Mapping[Scoring, Sequence[IdentificationFigures]]
    extrapolated: Mapping[Scoring, Sequence[Extrapolation]]

    @property
    def scoring(self) -> Scoring:
        """The one with the lower FNIR at the wanted FPIR in the largest gallery; of equal ones,
        best."""
        return min(self.figures, key=lambda one: self.figures[one][-1].suggestion.rates.fnir.value)

    @property
    def all_figures(self) -> Iterator[IdentificationFigures]:
        return (entry for sizes in zip(*self.figures.values(), strict=True) for entry in sizes)

    def settings(self) -> list[dict[str, Any]]:
        """The gallery's settings for each size, by the better scoring, beside the number of persons
        and whether the wanted FPIR is measurable."""
        own = [
            self._settings(entry.persons, entry.suggestion.rates.threshold, entry.suggestion)
            | ({"min_margin": entry.min_margin} if entry.min_margin else {})
            for entry in self.figures[self.scoring]
            if entry.suggestion.reached
        ]
        beyond = [
            self._settings(entry.persons, entry.threshold, entry)
            for entry in self.extrapolated[self.scoring]
            if entry.reached
        ]
        return own + beyond

    def _settings(
        self, persons: int, threshold: float, found: ThresholdSuggestion | Extrapolation
    ) -> dict[str, Any]:
        return {
            "persons": persons,
            "measurable": found.measurable,
            "recognizer": self.pool.name,
            "threshold": threshold,
            "scoring": self.scoring,
        }

    def as_json(self) -> dict[str, Any]:
        return {
            **self.pool.as_json(),
            "galleries": [entry.model_dump(mode="json") for entry in self.all_figures],
            "extrapolated": {
                scoring: [entry.model_dump(mode="json") for entry in entries]
                for scoring, entries in self.extrapolated.items()
            },
            "better_scoring": self.scoring,
            "settings": self.settings(),
        }


def identification_report(
    dataset: PersonDataset,
    enrolment: Enrolment,
    pools: Sequence[Pool],
    options: IdentificationOptions,
) -> Report:
    """Search with every recognizer and report. Raises NothingToMeasure if a gallery has no mated
    or no non-mated search."""
    split = dataset.split
    evaluated = [_evaluated(pool, split, enrolment, options) for pool in pools]
    _, beyond = measured_sizes(options.sizes, len(split.enrolled))
    blocks: list[Block] = [
        Cards("At a glance", [*_counts(dataset, enrolment), *map(_card, evaluated)]),
        _rank_table(evaluated, options),
        _threshold_table(evaluated, options.fpir),
        _fpir_table(evaluated),
        Plots("Plots", [_det(evaluated, options.fpir)]),
        _margin_table(evaluated),
        *(_extrapolation_table(evaluated, len(split.enrolled), options.fpir) if beyond else []),
        _settings_lines(evaluated),
        models_table(pools),
        *failure_table("Failures to enrol", enrolment.failures),
        *_passed_over(dataset.passed_over),
        Notes("Definitions", [*_DEFINITIONS, _FAILURES[options.failures]]),
    ]
    figures = {
        "enrolled_persons": len(split.enrolled),
        "non_enrolled_persons": split.others,
        "sizes_beyond_the_persons": beyond,
        "options": options.model_dump(mode="json"),
        "failures": failures_json(enrolment.failures),
        "passed_over": dict(dataset.passed_over),
        "recognizers": {entry.pool.name: entry.as_json() for entry in evaluated},
    }
    return Report("Face identification", dataset.facts, blocks, {}, figures)


def _evaluated(
    pool: Pool, split: Split, enrolment: Enrolment, options: IdentificationOptions
) -> EvaluatedPool:
    sizes, beyond = measured_sizes(options.sizes, len(split.enrolled))
    several = any(len(own) > 1 for own in split.enrolled)
    scorings: tuple[Scoring, ...] = ("best", "centroid") if several else ("best",)
    vectors = enrolment.vectors(pool.name)
    searches = {
        scoring: search_galleries(split, vectors, scoring, sizes, options.failures)
        for scoring in scorings
    }
    return EvaluatedPool(
        pool,
        {
            scoring: [
                identification_figures(one, scoring, pool.threshold, options) for one in found
            ]
            for scoring, found in searches.items()
        },
        {scoring: extrapolate(found[-1], beyond, options) for scoring, found in searches.items()},
    )


def _counts(dataset: PersonDataset, enrolment: Enrolment) -> list[Card]:
    split = dataset.split
    faces = sum(map(len, split.enrolled))
    return [
        Card("Enrolled persons", f"{len(split.enrolled):,}", f"{faces:,} photos"),
        Card(
            "Searches",
            f"{len(split.mated) + len(split.non_mated):,}",
            f"{len(split.mated):,} mated; {len(split.non_mated):,} non-mated, of {split.others:,}"
            " persons",
        ),
        Card("Failures to enrol", f"{len(enrolment.failures):,}", "photos"),
    ]


def _card(entry: EvaluatedPool) -> Card:
    figures = entry.figures[entry.scoring][-1]
    found = figures.suggestion
    first = figures.rank_rates[0]
    label = f"{entry.pool.name} · {entry.pool.model} · {figures.persons:,} persons"
    rank = f"rank {first.rank} {percent(first.rate.value)}"
    if found.measurable and found.reached:
        fpir = far_text(found.wanted_fpir)
        return Card(label, percent(found.rates.fnir.value), f"FNIR at FPIR {fpir}; {rank}")
    lacking = "needs more non-mated searches" if found.reached else "is not reached"
    detail = f"rank {first.rank}; FPIR {far_text(found.wanted_fpir)} {lacking}"
    return Card(label, percent(first.rate.value), detail)


def _name(entry: EvaluatedPool, figures: IdentificationFigures) -> str:
    return f"{entry.pool.name}, {figures.persons:,}, {figures.scoring}"


def _rows(evaluated: Sequence[EvaluatedPool]) -> Iterator[tuple[str, IdentificationFigures]]:
    for entry in evaluated:
        for figures in entry.all_figures:
            yield _name(entry, figures), figures


def _rank_table(evaluated: Sequence[EvaluatedPool], options: IdentificationOptions) -> Table:
    rows = [
        (
            name,
            f"{figures.mated_searches:,}",
            *(_rate(entry.rate) for entry in figures.rank_rates),
        )
        for name, figures in _rows(evaluated)
    ]
    return Table(
        "Rank of the enrolled person",
        (_ROW, "Searches", *(f"Rank {rank}" for rank in options.ranks)),
        rows,
        "Mated searches, without a threshold. Below a figure: its 95% confidence interval.",
    )


def _threshold_table(evaluated: Sequence[EvaluatedPool], wanted: float) -> Table:
    rows = []
    for name, figures in _rows(evaluated):
        found = figures.suggestion
        caution = _caution(found.reached, found.measurable, found.reliable)
        rows.append(_threshold_row(name, found.rates, caution))
        rows.append(_threshold_row("  in force", figures.in_force, ""))
    columns = (_ROW, f"For FPIR {far_text(wanted)}", "FPIR", "FNIR", "Wrong person")
    marks = {row[1].partition(" ")[2] for row in rows}
    searches = next(_rows(evaluated))[1].non_mated_searches
    return Table("Thresholds", columns, rows, _threshold_note(marks, wanted, searches))


def _threshold_row(name: str, rates: Rates, caution: str) -> tuple[str, ...]:
    shown = map(_rate, (rates.fpir, rates.fnir, rates.misidentified))
    return (name, f"{rates.threshold:.4f}{caution}", *shown)


def _threshold_note(marks: set[str], wanted: float, searches: int) -> str:
    text = "A suggested threshold is valid for similar photos, the same model and precision."
    fpir = far_text(wanted)
    if "‡" in marks:
        text += (
            f" ‡ No threshold reaches an FPIR of {fpir}: strangers have a cosine of 1 with an"
            " enrolled person. Look for one photo under two names."
        )
    if "†" in marks:
        text += (
            f" † An FPIR of {fpir} is not measurable with {searches:,} non-mated searches: this is"
            " the lowest threshold at which none returns a person; the true FPIR is unknown."
        )
    if "*" in marks:
        text += f" * Fewer than {RULE_OF_30} non-mated searches return a person."
    return text


def _fpir_table(evaluated: Sequence[EvaluatedPool]) -> Table:
    chosen = _chosen(evaluated)
    each = (figures.fnir_at_fpir for figures in chosen.values())
    rows = [
        (far_text(cells[0].wanted_fpir), *map(_fnir_cell, cells))
        for cells in zip(*each, strict=True)
    ]
    note = (
        "The lowest FNIR whose FPIR is at most the given one, by the better scoring. An FPIR is"
        f" measurable from 1/FPIR non-mated searches on; * marks a figure with fewer than"
        f" {RULE_OF_30} of them that return a person."
    )
    return Table("FNIR at FPIR", ("FPIR", *chosen), rows, note)


def _fnir_cell(cell: FnirAtFpir) -> str:
    if cell.fnir is None:
        return "not measurable"
    return with_interval(cell.fnir, percent, "" if cell.reliable else " *")


def _chosen(evaluated: Sequence[EvaluatedPool]) -> dict[str, IdentificationFigures]:
    """The figures by the better scoring, by name."""
    return {
        _name(entry, figures): figures
        for entry in evaluated
        for figures in entry.figures[entry.scoring]
    }


def _det(evaluated: Sequence[EvaluatedPool], wanted: float) -> Plot:
    chosen = _chosen(evaluated)
    searches = max(figures.non_mated_searches for figures in chosen.values())
    return det_plot({name: figures.det for name, figures in chosen.items()}, wanted, searches)


def _margin_table(evaluated: Sequence[EvaluatedPool]) -> Table:
    rows = [
        (
            entry.pool.name,
            f"{cell.min_margin:.2f}",
            *map(
                percent,
                (
                    cell.fpir,
                    cell.fnir,
                    cell.misidentified,
                    cell.uncertain_mated,
                    cell.uncertain_non_mated,
                ),
            ),
        )
        for entry in evaluated
        for cell in entry.figures[entry.scoring][-1].margins
    ]
    columns = (
        "Recognizer",
        "Margin",
        "FPIR",
        "FNIR",
        "Wrong person",
        "Doubt, mated",
        "Doubt, non-mated",
    )
    note = (
        "Decisions at the suggested threshold in the largest gallery, by the better scoring. A"
        " match is uncertain if the second person is less than min_margin below the first."
    )
    return Table("Margin to the second person", columns, rows, note)


def _extrapolation_table(
    evaluated: Sequence[EvaluatedPool], enrolled: int, wanted: float
) -> list[Block]:
    rows = [
        (
            f"{entry.pool.name}, {one.persons:,}, {scoring}",
            f"{one.threshold:.4f}" + _caution(one.reached, one.measurable, one.reliable),
            far_text(float(f"{one.wanted_fmr:.2g}")),
            percent(one.fpir) if one.measurable else "unknown",
            f"≥ {percent(one.fnir)}",
        )
        for entry in evaluated
        for scoring, entries in entry.extrapolated.items()
        for one in entries
    ]
    note = (
        f"Not measured: {enrolled:,} persons could be enrolled. FPIR(N) = 1 - (1 - FMR)^N, with the"
        " FMR of a stranger's comparison with one person, as observed in the largest gallery;"
        " comparisons count as independent (Daugman, Biometric Decision Landscapes, 2000). FNIR:"
        " that of the largest gallery at this threshold, which more persons can only raise. † The"
        " comparisons are fewer than 1/FMR. * Fewer than"
        f" {RULE_OF_30} of them are accepted. ‡ No threshold reaches the FMR."
    )
    columns = (
        _ROW,
        f"For FPIR {far_text(wanted)}",
        "FMR",
        "FPIR",
        "FNIR",
    )
    return [Table("Larger galleries, extrapolated", columns, rows, note)]


def _settings_lines(evaluated: Sequence[EvaluatedPool]) -> Code:
    lines = []
    for entry in evaluated:
        for settings in entry.settings():
            persons, measurable = settings.pop("persons"), settings.pop("measurable")
            doubt = "" if measurable else "; † the FPIR there is not measurable"
            lines += [f"# {persons:,} persons{doubt}", json.dumps(settings)]
    return Code(
        "For a gallery",
        "\n".join(lines) or "# no threshold reaches the FPIR",
        "Bodies of PUT /v1/galleries/{gallery}, by the scoring with the lower FNIR.",
    )


def _passed_over(reasons: Mapping[str, str]) -> list[Block]:
    if not reasons:
        return []
    return [Table("Files passed over", ("File", "Reason"), list(reasons.items()), text=True)]


def _rate(figure: Figure) -> str:
    return with_interval(figure, percent)


def _caution(reached: bool, measurable: bool, reliable: bool) -> str:
    if not reached:
        return " ‡"
    if not measurable:
        return " †"
    return "" if reliable else " *"
