"""Little's-law arithmetic, with replica counts worked out by hand."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.scaling import LittlesLawConfig
from graph.autoscaling import (
    StageLoad,
    StageSizer,
    Traffic,
    growth_rate,
    replicas_needed,
    total_growth_rate,
)

NUMBERS = st.floats(min_value=0, max_value=1e4)


def stage(replicas: int = 1, busy: float | None = 0.0, **other: float) -> StageLoad:
    fields = {"minimum": 1, "maximum": 100, "workers": 1.0} | other
    return StageLoad(replicas=replicas, busy=busy, **fields)  # type: ignore[arg-type]


def steady(rate: float) -> Traffic:
    return Traffic(arriving=rate, arrived=rate, finished=rate)


def stage_sizer(**config: float) -> StageSizer:
    return StageSizer(LittlesLawConfig.model_validate({"utilisation": 0.7} | config))


@pytest.mark.parametrize(
    ("window_s", "rate"), [(math.inf, 7.5), (4.0, 7.5), (2.0, 10.0), (1.0, 10.0), (3.0, 7.5)]
)
def test_a_rate_is_taken_over_the_window_or_a_little_more(window_s: float, rate: float) -> None:
    assert growth_rate([(100.0, 0.0), (102.0, 10.0), (104.0, 30.0)], window_s) == rate


def test_one_report_makes_no_rate() -> None:
    assert growth_rate([]) is None
    assert growth_rate([(1.0, 5.0)]) is None
    assert total_growth_rate([[], [(1.0, 5.0)]]) is None


def test_replicas_add_up_and_a_new_one_counts_from_its_second_report() -> None:
    first, second, new = [(0.0, 0.0), (10.0, 20.0)], [(0.0, 5.0), (10.0, 15.0)], [(10.0, 0.0)]
    assert total_growth_rate([first, second, new]) == 3.0


def test_load_over_workers_and_utilisation_rounded_up() -> None:
    assert replicas_needed(2.1, workers=2, utilisation=0.7) == 2  # 1.5
    assert replicas_needed(1.4, workers=2, utilisation=0.7) == 1
    assert replicas_needed(0.1 * 7 * 3, workers=1, utilisation=0.7) == 3  # 3.0000000000000004
    assert replicas_needed(0.0, workers=2, utilisation=0.7) == 0


def test_a_burst_sizes_every_stage_at_once_by_what_arrives_at_the_ingress() -> None:
    """10 requests/s keep the detector busy for 0.6 s of each second and the recognizer for 0.3 s.

    At 50/s that is 3 and 1.5 worker-seconds. The recognizer still receives no more than the
    detector finishes.
    """
    sizer = stage_sizer()
    usual = {"detector": stage(busy=0.6), "recognizer": stage(busy=0.3)}
    assert sizer.update(0.0, steady(10), usual) == {"detector": 1, "recognizer": 1}
    burst = Traffic(arriving=50, arrived=22, finished=14)
    saturated = {"detector": stage(busy=1.0), "recognizer": stage(busy=0.42)}
    assert sizer.update(1.0, burst, saturated) == {"detector": 5, "recognizer": 3}


def test_a_service_demand_is_not_learned_while_completions_lag_behind() -> None:
    sizer = stage_sizer()
    sizer.update(0.0, steady(10), {"detector": stage(busy=0.6)})
    for second in range(1, 100):
        lagging = Traffic(arriving=50, arrived=50, finished=5)
        assert sizer.update(second, lagging, {"detector": stage(busy=1.0)}) == {"detector": 5}


def test_a_provisional_demand_is_corrected_once_completions_keep_up() -> None:
    """Provisional: 1 s busy for 5 completions; right: 3 s for 50."""
    sizer = stage_sizer()
    lagging = Traffic(arriving=50, arrived=50, finished=5)
    assert sizer.update(0.0, lagging, {"detector": stage(busy=1.0)}) == {"detector": 15}
    assert sizer.update(1.0, steady(50), {"detector": stage(busy=3.0)}) == {"detector": 5}


def test_a_changing_service_demand_is_averaged_with_the_time_constant() -> None:
    """After one time constant 1 - 1/e of the way from 0.1 to 0.2 s: 0.163 s, at 10/s 1.63 busy."""
    sizer = stage_sizer(memory_s=60.0, utilisation=0.1, hysteresis=0.0)
    assert sizer.update(0.0, steady(10), {"detector": stage(busy=1.0)}) == {"detector": 10}
    for second in range(1, 61):
        now = sizer.update(second, steady(10), {"detector": stage(busy=2.0)})
    assert now == {"detector": 17}


@pytest.mark.parametrize(
    ("replicas", "rate", "wanted"),
    [(1, 10.0, 1), (1, 10.1, 2), (2, 9.9, 2), (2, 8.6, 2), (2, 8.4, 1), (5, 10.1, 2)],
)
def test_a_replica_is_removed_only_below_the_hysteresis_band(
    replicas: int, rate: float, wanted: int
) -> None:
    """At 0.07 s per request one replica takes 10/s at 0.7, and 8.5/s at 0.7 * 0.85."""
    sizer = stage_sizer(hysteresis=0.15)
    detector = {"detector": stage(replicas, busy=0.07 * rate)}
    assert sizer.update(0.0, steady(rate), detector) == {"detector": wanted}


def test_more_workers_in_a_replica_need_fewer_replicas() -> None:
    both = {"one": stage(busy=6.0), "four": stage(busy=6.0, workers=4.0)}
    assert stage_sizer().update(0.0, steady(10), both) == {"one": 9, "four": 3}


def test_bounds_hold() -> None:
    both = {"few": stage(busy=6.0, maximum=4), "many": stage(busy=0.1, minimum=3)}
    assert stage_sizer().update(0.0, steady(10), both) == {"few": 4, "many": 3}


def test_without_traffic_every_stage_goes_to_its_minimum() -> None:
    sizer = stage_sizer()
    sizer.update(0.0, steady(50), {"detector": stage(busy=3.0)})
    assert sizer.update(1.0, steady(0), {"detector": stage(5, busy=0.0)}) == {"detector": 1}


def test_clients_that_all_wait_for_an_answer_keep_the_stages_as_large_as_they_need() -> None:
    """10/s of 0.06 s over a window of 5 s; 5 s after the last request that is a mean of 5/s."""
    sizer = stage_sizer(arrivals_window_s=5.0, utilisation=0.1, hysteresis=0.0)
    sizer.update(0.0, steady(10), {"detector": stage(busy=0.6)})
    waiting = Traffic(arriving=0.0, arrived=0.0, finished=0.0, under_way=8.0)
    sizes = [sizer.update(now, waiting, {"detector": stage(6)}) for now in (0.0, 5.0, 15.0)]
    assert sizes == [{"detector": 6}, {"detector": 3}, {"detector": 2}]  # 1.5, rounded up
    answered = replace(waiting, under_way=0.0)
    assert sizer.update(16.0, answered, {"detector": stage(6)}) == {"detector": 1}
    assert sizer.update(17.0, waiting, {"detector": stage(6)}) == {"detector": 1}


def test_a_stage_without_reports_keeps_its_size() -> None:
    unreported = Traffic(None, None, None, under_way=8.0)
    assert stage_sizer().update(0.0, unreported, {"detector": stage(3, busy=2.0)}) == {
        "detector": 3
    }
    assert stage_sizer().update(0.0, steady(10), {"detector": stage(3, busy=None)}) == {
        "detector": 3
    }


def test_an_idle_pool_scales_to_zero_and_others_traffic_does_not_start_it() -> None:
    sizer = stage_sizer()
    pool = stage(1, busy=0.3, minimum=0)
    assert sizer.update(0.0, steady(10), {"pool": pool}) == {"pool": 1}
    waiting = stage(1, busy=0.0, minimum=0, queued=1.0)
    assert sizer.update(1.0, steady(10), {"pool": waiting}) == {"pool": 1}
    assert sizer.update(2.0, steady(10), {"pool": stage(1, busy=0.0, minimum=0)}) == {"pool": 0}
    assert sizer.update(3.0, steady(10), {"pool": stage(0, busy=None, minimum=0)}) == {"pool": 0}


@given(rate=NUMBERS, more=NUMBERS, busy=NUMBERS, replicas=st.integers(1, 20))
def test_more_arrivals_never_mean_fewer_replicas_nor_leave_the_bounds(
    rate: float, more: float, busy: float, replicas: int
) -> None:
    detector = {"detector": stage(replicas, busy=busy, maximum=20)}

    def size(arriving: float) -> int:
        return stage_sizer().update(0.0, Traffic(arriving, 10.0, 10.0), detector)["detector"]

    assert 1 <= size(rate) <= size(rate + more) <= 20
