"""`facegraph plan`, as a user calls it."""

import json
from pathlib import Path

import pytest
import yaml

from deployments.errors import InvalidRequest
from graph.commands.plan import given_costs
from tests.support.profiles import ROOT
from tests.support.terminal import Done, facegraph

COSTS = [
    f"--cost={stage}={seconds}"
    for stage, seconds in {
        "Ingress": 0.002,
        "Detector": 0.010,
        "Aligner": 0.0005,
        "Recognizer:arcface": 0.008,
        "Aggregator": 0.0002,
    }.items()
]


def plan(*arguments: str | Path) -> Done:
    return facegraph("plan", *arguments, COLUMNS="300")


def test_replicas_and_reasons_are_printed_and_lines_to_paste() -> None:
    done = plan("--rps", "500", *COSTS)
    assert done.code == 0, done.err
    assert "500/s x 10.00 ms / (2 x 0.7) = 3.57" in done.out
    pasted = yaml.safe_load(done.out[done.out.index("deployments:") :])["deployments"]
    assert {one["name"]: one["autoscaling_config"]["max_replicas"] for one in pasted} == {
        "Ingress": 2,
        "Detector": 4,
        "Aligner": 1,
        "Recognizer:arcface": 3,
        "Aggregator": 1,
    }


def test_json_has_the_same_and_what_it_was_worked_out_from() -> None:
    printed = json.loads(plan("--rps", "500", "--utilisation", "0.5", "--json", *COSTS).out)
    stages = {stage["deployment"]: stage for stage in printed["stages"]}
    assert stages["Detector"]["replicas"] == 5
    assert stages["Detector"]["busy_workers"] == 5.0
    assert printed["cpus"] == sum(stage["cpus"] for stage in stages.values())
    assert printed["service_times"]["request"] == "compare"


def test_the_gallery_stage_is_left_out_and_that_is_said(tmp_path: Path) -> None:
    file = tmp_path / "serve.yaml"
    text = (ROOT / "serve_config.yaml").read_text()
    file.write_text(text.replace("    args:\n", "    args:\n      gallery: {enabled: true}\n"))
    done = plan("--rps", "500", "--config", file, *COSTS)
    assert done.code == 0, done.err
    assert "Gallery: not in the plan" in done.err
    assert "Gallery" not in done.out


def test_wrong_arguments_are_named() -> None:
    times = plan("--rps", "5", "--config", "configs/profiles/full-cpu.yaml")
    assert times.code == 2
    assert "no service time for Recognizer:frfm, Recognizer:frir, Recognizer:rts" in times.err


def test_a_file_with_gpus_is_planned_from_the_times_of_an_h100() -> None:
    planned = plan("--rps", "200", "--config", "configs/profiles/gpu.yaml", "--json")
    printed = json.loads(planned.out)
    gpus = {stage["deployment"]: stage["gpus"] for stage in printed["stages"]}
    assert gpus["Detector"] == pytest.approx(0.8)  # 200/s x 18.9 ms / (4 x 0.7) = 1.35 replicas
    assert printed["gpus"] == pytest.approx(1.4)
    assert "H100" in printed["service_times"]["measured_on"]
    assert printed["service_times"]["requests"] is None


@pytest.mark.parametrize("cost", ["Detector", "Detector=fast", "Detector=-1", "Detector=inf"])
def test_a_cost_that_is_none_is_shown_as_it_was_given(cost: str) -> None:
    with pytest.raises(InvalidRequest, match=f"--cost {cost}: expected"):
        given_costs(["Aligner=0.1", cost], ["Aligner", "Detector"])
