"""Admission control: numbers worked out by hand, on a clock that only the test moves."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest

from configs.limits import RequestLimits
from deployments.errors import Overloaded
from graph.http.admission import AdmissionControl


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@contextmanager
def together(admission: AdmissionControl, count: int) -> Iterator[None]:
    """Have this many requests in processing."""
    with ExitStack() as in_processing:
        for _ in range(count):
            in_processing.enter_context(admission.processing())
        yield


def answer_sequentially(
    admission: AdmissionControl, clock: Clock, *, count: int, each_s: float
) -> None:
    for _ in range(count):
        with admission.processing():
            clock.now += each_s


def answer_under_load(
    admission: AdmissionControl, clock: Clock, *, count: int, each_s: float
) -> None:
    """Answer one request after the other beside fifteen that stay in processing."""
    with together(admission, 15):
        answer_sequentially(admission, clock, count=count, each_s=each_s)


def processed_together(admission: AdmissionControl) -> int:
    """Return how many requests are in processing before one is refused, at most 1000."""
    count = 0
    with ExitStack() as in_processing, suppress(Overloaded):
        while count < 1000:
            in_processing.enter_context(admission.processing())
            count += 1
    return count


def test_no_more_requests_than_max_concurrent_are_admitted() -> None:
    admission = AdmissionControl(RequestLimits(max_concurrent=2))
    two_under_way = pytest.raises(Overloaded, match="2 requests are under way")
    with admission.admitted(), admission.admitted(), two_under_way, admission.admitted():
        pass
    with admission.admitted():
        pass


def test_a_request_that_would_wait_too_long_by_the_service_rate_is_refused() -> None:
    clock = Clock()
    admission = AdmissionControl(RequestLimits(max_queue_wait_s=20), clock)
    answer_under_load(admission, clock, count=100, each_s=0.5)
    # Two a second: 40 take 20 s, and the next would take longer.
    assert processed_together(admission) == pytest.approx(40, abs=2)


def test_the_rate_follows_the_graph_as_it_slows_down() -> None:
    clock = Clock()
    admission = AdmissionControl(RequestLimits(max_queue_wait_s=20), clock)
    answer_under_load(admission, clock, count=200, each_s=0.1)
    answer_under_load(admission, clock, count=60, each_s=1.0)
    assert 20 <= processed_together(admission) < 30  # it was 200 before


def test_some_requests_are_processed_however_slow_the_last_ones_were() -> None:
    clock = Clock()
    admission = AdmissionControl(RequestLimits(max_queue_wait_s=20), clock)
    answer_under_load(admission, clock, count=200, each_s=0.1)
    with together(admission, 16):
        clock.now += 30  # some 12 answers count now, in 31 s: eight requests would take 20 s
    assert processed_together(admission) == 16


def test_an_idle_hour_does_not_look_like_a_slow_graph() -> None:
    clock = Clock()
    admission = AdmissionControl(RequestLimits(max_queue_wait_s=20), clock)
    answer_under_load(admission, clock, count=100, each_s=0.05)
    clock.now += 3600
    assert processed_together(admission) == pytest.approx(20 / 0.05, abs=2)


def test_a_graph_with_few_answers_refuses_no_request() -> None:
    clock = Clock()
    admission = AdmissionControl(RequestLimits(max_queue_wait_s=20), clock)
    answer_under_load(admission, clock, count=3, each_s=15)
    assert processed_together(admission) == 1000


def test_the_rate_of_a_client_that_waits_for_each_answer_refuses_no_burst() -> None:
    clock = Clock()
    admission = AdmissionControl(RequestLimits(max_queue_wait_s=20), clock)
    answer_sequentially(admission, clock, count=100, each_s=1.1)
    assert processed_together(admission) == 1000
