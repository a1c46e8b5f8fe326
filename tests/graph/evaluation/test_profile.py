from pathlib import Path

import pytest
import yaml

from deployments.errors import InvalidConfig
from graph.evaluation.figures import Suggestion
from graph.evaluation.profile import (
    NotMeasurable,
    min_qualities_of,
    thresholds_of,
    with_values,
    yaml_lines,
)
from graph.evaluation.quality import QualitySuggestion
from tests.support.profiles import PROFILES


@pytest.mark.parametrize("profile", PROFILES, ids=lambda path: path.name)
def test_nothing_but_the_thresholds_changes_in_a_shipped_profile(profile: Path) -> None:
    text = profile.read_text()
    content = yaml.safe_load(text)
    pools = content["applications"][0]["args"]["recognizers"]
    thresholds = {pool: 0.25 + index / 100 for index, pool in enumerate(pools)}
    written = with_values(text, "threshold", thresholds)
    for pool, threshold in thresholds.items():
        pools[pool]["threshold"] = pytest.approx(threshold)
    assert yaml.safe_load(written) == content
    assert [line for line in text.splitlines() if "#" in line] == [
        line for line in written.splitlines() if "#" in line
    ]


def test_a_threshold_that_is_there_is_replaced_in_its_place() -> None:
    text = """applications:
  - args:
      recognizers:
        arcface:  # the default
          model: arcface-mbf
          threshold: 0.35  # a starting value
        flow: {model: rts, threshold: 0.1, threads: 1}  # in one line
"""
    written = with_values(text, "threshold", {"arcface": 0.28735, "flow": 0.5})
    assert written == text.replace("0.35", "0.2873").replace("0.1,", "0.5000,")
    assert with_values(text, "min_quality", {"arcface": 0.4, "flow": 0}) == text.replace(
        "model: arcface-mbf", "min_quality: 0.4000\n          model: arcface-mbf"
    ).replace("{model", "{min_quality: 0.0000, model")


def test_the_error_names_a_pool_that_is_not_in_the_file() -> None:
    with pytest.raises(InvalidConfig, match=r"recognizers\.other"):
        with_values("applications: [{args: {recognizers: {a: {}}}}]", "threshold", {"other": 0.3})
    with pytest.raises(InvalidConfig, match=r"recognizers\.a"):
        with_values("applications: []", "threshold", {"a": 0.3})
    text = with_values("applications: [{args: {recognizers: {a: {}}}}]", "threshold", {"a": 0.3})
    assert yaml.safe_load(text)["applications"][0]["args"]["recognizers"] == {
        "a": {"threshold": 0.3}
    }


def test_lines_to_write_by_hand() -> None:
    assert yaml.safe_load(yaml_lines({"arcface": 0.31, "rts": 0.4})) == {
        "recognizers": {"arcface": {"threshold": 0.31}, "rts": {"threshold": 0.4}}
    }


def test_a_far_that_is_not_measurable_gives_no_threshold() -> None:
    known = Suggestion(
        wanted_far=1e-3,
        measurable=True,
        reliable=True,
        reached=True,
        threshold=0.3,
        far=0.001,
        tar=0.9,
    )
    assert thresholds_of({"arcface": known}) == {"arcface": 0.3}
    unknown = known.model_copy(update={"measurable": False})
    with pytest.raises(NotMeasurable, match="at least 1000 impostor pairs"):
        thresholds_of({"arcface": unknown})


def test_a_far_that_too_few_good_pairs_can_measure_gives_no_min_quality() -> None:
    known = QualitySuggestion(
        wanted_far=1e-2,
        threshold=0.3,
        measurable=True,
        reached=True,
        min_quality=0.5,
        far=0.01,
        frr=0.02,
        genuine_rejected=0.1,
        impostor_pairs=300,
        impostors_accepted=3,
    )
    assert min_qualities_of({"arcface": known}) == {"arcface": 0.5}
    for suggestion, words in [
        (known.model_copy(update={"measurable": False, "impostor_pairs": 299}),
         "takes at least 300 impostor pairs that it leaves, not 299"),
        (known.model_copy(update={"reached": False}), "no min_quality reaches a FAR of 0.01"),
        (None, "rts: its faces have no quality"),
    ]:  # fmt: skip
        with pytest.raises(NotMeasurable, match=words):
            min_qualities_of({"arcface": known, "rts": suggestion})
