"""The report's page: self-contained, in both colour schemes, with nothing unescaped."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from graph.evaluation.comparison import (
    EvaluatedRecognizer,
    Pool,
    evaluate,
    figure_blocks,
    models_table,
    recognizer_cards,
    suggestions,
)
from graph.evaluation.figures import EvaluationOptions, NothingToMeasure
from graph.evaluation.profile import NotMeasurable, thresholds_of
from graph.evaluation.quality_blocks import quality_blocks
from graph.evaluation.report import Notes, Report, Table, html, write
from graph.evaluation.verification import PairScores

OPTIONS = EvaluationOptions(bootstrap=20, far=1e-2)
SAME = np.arange(400) < 150


@pytest.fixture(scope="module")
def evaluated() -> list[EvaluatedRecognizer]:
    generator = np.random.default_rng(1)
    noise = generator.normal(0, 0.12, 400)
    scores = np.where(SAME, 0.6, 0.05) + noise
    scores[[3, 300]] = -np.inf  # two pairs with a failure to enrol
    pools = [Pool("arcface", "arcface-mbf", 0.35), Pool("rts", "rts", 0.25)]
    uncertainty = np.abs(noise)
    quality = 1 - np.minimum(uncertainty, 1)
    return [
        evaluate(pools[0], PairScores(scores, SAME), None, None, OPTIONS),
        evaluate(pools[1], PairScores(scores * 0.9, SAME), None, uncertainty, OPTIONS, quality),
    ]


@pytest.fixture(scope="module")
def report(evaluated: list[EvaluatedRecognizer]) -> Report:
    named = [("Pairs", "<b>pairs</b>.csv")]
    blocks = [*figure_blocks(evaluated, OPTIONS), *quality_blocks(evaluated, OPTIONS.far)]
    figures = {"recognizers": {entry.pool.name: entry.as_json() for entry in evaluated}}
    return Report("Faces & names", named, blocks, suggestions(evaluated), figures)


class Links(HTMLParser):
    """Collects the URLs that a page fetches, and its elements in order."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.fetched += [
            value or "" for name, value in attrs
            if name in ("src", "href", "xlink:href", "srcset", "data", "action")
        ]  # fmt: skip


def test_the_page_fetches_nothing_and_runs_nothing(report: Report) -> None:
    page = html(report)
    links = Links()
    links.feed(page)
    assert all(link.startswith(("#", "data:")) for link in links.fetched)
    assert not {"script", "link", "iframe", "object", "embed"} & set(links.tags)
    assert not re.search(r"@import|url\((?!#)", page)
    assert links.tags.count("svg") == 6  # ROC, errors, two histograms, two of rejection


def test_names_are_escaped(report: Report) -> None:
    page = html(report)
    assert "<b>pairs</b>" not in page
    assert "&lt;b&gt;pairs&lt;/b&gt;.csv" in page
    assert "<title>Faces &amp; names</title>" in page


def test_plots_take_the_colours_of_the_page_in_both_schemes(report: Report) -> None:
    page = html(report)
    used = set(re.findall(r"var\((--[a-z0-9-]+)\)", page))
    light, dark = (set(re.findall(r"(--[a-z0-9-]+):", scheme)) for scheme in _schemes(page))
    assert used <= light
    assert light == dark
    assert {"--genuine", "--series-0", "--series-1", "--ink"} <= used
    # Black is invisible on the dark page.
    assert not re.search(r"(fill|stroke): ?(#000000|black)", "".join(_svgs(page)))


def _schemes(page: str) -> list[str]:
    return re.findall(r":root \{(.*?)\}", page, flags=re.DOTALL)


def _svgs(page: str) -> list[str]:
    return re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)


def test_every_plot_is_also_a_png_and_every_figure_is_in_the_json(
    report: Report, evaluated: list[EvaluatedRecognizer], tmp_path: Path
) -> None:
    page = write(report, tmp_path)
    assert page.read_text() == html(report)
    names = {path.name for path in tmp_path.glob("*.png")}
    assert names == {
        "roc.png", "errors.png", "scores-arcface.png", "scores-rts.png", "rejection.png",
        "rejection-quality.png",
    }  # fmt: skip
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in tmp_path.glob("*.png"))
    figures = json.loads((tmp_path / "figures.json").read_text())["recognizers"]
    assert figures["arcface"]["rejection"] is None
    compared = evaluated[1].pairs.compared()
    wrong = (compared.scores >= figures["rts"]["suggestion"]["threshold"]) != compared.same
    assert figures["rts"]["rejection"]["error"][0] == pytest.approx(wrong.mean())
    assert figures["arcface"]["failed_genuine_pairs"] == 1
    assert figures["arcface"]["failed_impostor_pairs"] == 1


def test_a_min_quality_is_suggested_and_its_lack_is_explained(
    report: Report, evaluated: list[EvaluatedRecognizer]
) -> None:
    [table] = [
        block
        for block in report.blocks
        if isinstance(block, Table) and block.title == "Suggested min_quality"
    ]
    [row] = table.rows
    found = evaluated[1].as_json()["rejection_by_quality"]
    suggestion = found["suggestion"]
    assert row[0] == "rts"
    assert found["threshold"] == 0.25  # the one in force
    assert found["accepted"][0] > OPTIONS.far >= suggestion["far"]
    assert 0 < suggestion["min_quality"] < 1
    # At most 249 impostor pairs are left; by the rule of three the FAR takes 300.
    assert row[3] == f"{suggestion['min_quality']:.4f} †"
    assert "a FAR of 1e-2 takes at least 300." in table.note
    [notes] = [block for block in report.blocks if isinstance(block, Notes)]
    assert "by quality for arcface: no genuine or no impostor pair has" in notes.paragraphs[0]
    assert evaluated[0].as_json()["rejection_by_quality"] is None


def tables(evaluated: list[EvaluatedRecognizer], options: EvaluationOptions) -> dict[str, Table]:
    blocks = figure_blocks(evaluated, options)
    return {block.title: block for block in blocks if isinstance(block, Table)}


def test_the_compared_models_are_told_with_their_licences() -> None:
    own = Pool("own", "own-r50", 0.4, embedding_size=128, licence="ours", commercial_use=True)
    assert models_table([own, Pool("rts", "rts", 0.25)]).rows == [
        ("own", "own-r50", "128", "yes", "ours"),
        ("rts", "rts", "?", "?", "?"),
    ]
    assert own.as_json()["licence"] == "ours"


def test_a_far_is_not_measurable_with_too_few_impostor_pairs(report: Report) -> None:
    table = next(
        block for block in report.blocks if isinstance(block, Table) and block.title == "TAR at FAR"
    )
    fars, *recognizers = zip(*table.rows, strict=True)
    assert fars == ("1e-1", "1e-2", "1e-3", "1e-4", "1e-5", "1e-6")
    assert table.columns[0] == "FAR"
    for cells in recognizers:
        assert [cell == "not measurable" for cell in cells] == [False, False] + 4 * [True]
        assert cells[1].splitlines()[0].endswith(" *")  # only two impostor pairs are accepted


def test_the_suggested_threshold_keeps_to_the_far_as_it_is_written(
    evaluated: list[EvaluatedRecognizer],
) -> None:
    for entry in evaluated:
        suggestion = entry.figures.suggestion
        assert round(suggestion.threshold, 4) == suggestion.threshold
        far, tar = entry.rates_at(suggestion.threshold)
        assert (far, tar) == pytest.approx((suggestion.far, suggestion.tar))
        assert far <= 1e-2


def test_failures_to_enrol_count_as_rejected_or_not_at_all() -> None:
    scores = np.asarray([0.9, -np.inf, 0.1, -np.inf])
    pairs = PairScores(scores, np.asarray([True, True, False, False]))
    pool = Pool("arcface", "arcface-mbf", 0.35)
    counted = evaluate(pool, pairs, None, None, EvaluationOptions(bootstrap=0))
    assert counted.rates_at(0.05) == (0.5, 0.5)
    # One genuine pair outscores both impostor pairs; the failed one ties with the failed impostor.
    assert counted.figures.auc.value == pytest.approx((2 + 0.5) / 4)
    left = evaluate(pool, pairs, None, None, EvaluationOptions(bootstrap=0, failures="exclude"))
    assert left.rates_at(0.05) == (1.0, 1.0)
    assert left.figures.auc.value == 1.0
    assert left.figures.failed_genuine_pairs == 1
    lost = PairScores(np.asarray([-np.inf, 0.1]), np.asarray([True, False]))
    with pytest.raises(NothingToMeasure):
        evaluate(pool, lost, None, None, EvaluationOptions(failures="exclude"))


def test_without_any_compared_pair_there_is_no_discard_curve() -> None:
    pairs = PairScores(np.full(4, -np.inf), np.asarray([True, True, False, False]))
    options = EvaluationOptions(bootstrap=0)
    entry = evaluate(Pool("rts", "rts", 0.3), pairs, None, np.full(4, np.nan), options)
    assert entry.as_json()["rejection"] is None


def test_a_far_is_not_measurable_with_the_impostor_pairs_that_count() -> None:
    scores = np.asarray([0.9, *np.linspace(0, 0.1, 99), -np.inf])
    pairs = PairScores(scores, np.arange(101) < 1)
    options = EvaluationOptions(bootstrap=0, failures="exclude", far=1e-2)
    entry = evaluate(Pool("arcface", "arcface-mbf", 0.35), pairs, None, None, options)
    note = tables([entry], options)["Thresholds"].note
    assert "A FAR of 1e-2 is not measurable with 99 impostor pairs" in note


def test_an_impostor_pair_of_cosine_1_leaves_no_threshold_for_the_far() -> None:
    # 100 impostor pairs: the FAR of 1e-2 allows one, and two have a cosine of 1.
    scores = np.asarray([0.9, 1.0, 1.0, *np.linspace(0, 0.1, 98)])
    pairs = PairScores(scores, np.arange(101) < 1)
    options = EvaluationOptions(bootstrap=0, far=1e-2)
    entry = evaluate(Pool("arcface", "arcface-mbf", 0.35), pairs, None, None, options)
    suggestion = entry.figures.suggestion
    assert (suggestion.threshold, suggestion.far, suggestion.reached) == (1.0, 0.02, False)
    [card] = recognizer_cards([entry])
    assert card.detail.endswith("FAR 1e-2 is not reached")
    table = tables([entry], options)["Thresholds"]
    assert table.rows[0][4] == "1.0000 ‡"
    assert "‡ No threshold reaches a FAR of 1e-2" in table.note
    with pytest.raises(NotMeasurable, match="arcface: no threshold reaches a FAR"):
        thresholds_of(suggestions([entry]))
