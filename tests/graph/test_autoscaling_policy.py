"""The policy on Serve's own contexts, and its decisions as Serve applies them."""

import logging
from typing import Any

import pytest
from ray.serve.autoscaling_policy import _apply_app_level_autoscaling_config
from ray.serve.config import AutoscalingConfig, AutoscalingContext

from graph.autoscaling import LittlesLaw
from tests.support.ray_private import DeploymentID, ReplicaID, TimeStampedValue

SECONDS = range(100, 111)
CONFIG = AutoscalingConfig(min_replicas=1, max_replicas=20, upscale_delay_s=0, downscale_delay_s=0)


def context(name: str, replicas: int = 1, **per_second: float) -> AutoscalingContext:
    """A deployment's context.

    per_second: growth of each replica's counters; `workers` is 1.
    """
    deployment = DeploymentID(name, "app")
    workers = [TimeStampedValue(second, 1.0) for second in SECONDS]
    series = {
        metric: [TimeStampedValue(second, rate * (second - SECONDS[0])) for second in SECONDS]
        for metric, rate in per_second.items()
    }
    reported = {
        metric: {ReplicaID(f"replica {index}", deployment): points for index in range(replicas)}
        for metric, points in (series | {"workers": workers}).items()
    }
    return AutoscalingContext(
        deployment_id=deployment,
        deployment_name=name,
        app_name="app",
        current_num_replicas=replicas,
        target_num_replicas=replicas,
        running_replicas=[],
        total_num_requests=lambda: 1.0,
        total_queued_requests=lambda: 0.0,
        aggregated_metrics=dict,
        raw_metrics=reported,
        capacity_adjusted_min_replicas=1,
        capacity_adjusted_max_replicas=20,
        policy_state={},
        last_scale_up_time=None,
        last_scale_down_time=None,
        current_time=float(SECONDS[-1]),
        config=CONFIG,
    )


def by_id(*contexts: AutoscalingContext) -> dict[Any, AutoscalingContext]:
    return {one.deployment_id: one for one in contexts}


def broken(name: str) -> AutoscalingContext:
    def fail() -> Any:
        raise RuntimeError("no metrics")

    one = context(name, replicas=3)
    one._raw_metrics_value = fail
    return one


def test_serve_scales_all_stages_as_the_policy_says() -> None:
    """20 requests/s, which two ingress replicas receive; 0.07 s each of the detector's time."""
    policy = _apply_app_level_autoscaling_config(LittlesLaw(utilisation=0.7))
    contexts = by_id(
        context("Ingress", 2, arrived=10, finished=10, busy_s=0.1),
        context("Detector", 1, busy_s=1.4),
        context("Aggregator", 4, busy_s=0.0),
    )
    decisions, _ = policy(contexts)
    assert {key.name: count for key, count in decisions.items()} == {
        "Ingress": 1,
        "Detector": 2,
        "Aggregator": 1,
    }


@pytest.mark.parametrize(("under_way", "detectors"), [(0.8, 2), (0.0, 1)])
def test_a_stage_keeps_its_size_while_clients_wait_and_send_nothing(
    under_way: float, detectors: int
) -> None:
    policy = LittlesLaw(utilisation=0.7)
    policy(
        by_id(
            context("Ingress", arrived=20, finished=20, busy_s=0.1),
            context("Detector", busy_s=1.4),
        )
    )
    waiting = by_id(
        context("Ingress", arrived=0, finished=0, busy_s=0.1, under_way=under_way),
        context("Detector", 2, busy_s=0.0),
    )
    decisions, _ = policy(waiting)
    assert list(decisions.values()) == [1, detectors]


def test_a_policy_that_fails_keeps_every_size_and_logs_it_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    policy = LittlesLaw()
    contexts = by_id(broken("Ingress"), context("Detector", 2, busy_s=9.0))
    with caplog.at_level(logging.ERROR, logger="ray.serve"):
        for _ in range(3):
            decisions, state = policy(contexts)
            assert {key.name: count for key, count in decisions.items()} == {
                "Ingress": 3,
                "Detector": 2,
            }
            assert state == {}
    assert len(caplog.records) == 1


def test_without_an_ingress_that_reports_nothing_is_scaled() -> None:
    decisions, _ = LittlesLaw()(by_id(context("Detector", 2, busy_s=9.0)))
    assert list(decisions.values()) == [2]


def test_wrong_kwargs_are_logged_by_name_and_stop_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.ERROR, logger="ray.serve"):
        policy = LittlesLaw(utilization=0.7)
    assert "utilization" in caplog.text
    contexts = by_id(
        context("Ingress", arrived=10, finished=10, busy_s=0.1), context("Detector", 2, busy_s=9.0)
    )
    decisions, _ = policy(contexts)
    assert list(decisions.values()) == [1, 2]
