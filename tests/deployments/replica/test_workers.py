"""A replica's threads: their health checks, their deadlines and the measurement of their work."""

import asyncio
import threading
import time
from collections.abc import Sequence

import pytest

from deployments.errors import DeadlineExceeded
from deployments.replica.deadline import Deadline
from deployments.replica.feeder import Feeder, Queued
from deployments.replica.workers import BusyTime, Stuck, Workers
from tests.support.waiting import TIMEOUT_S, let_tasks_run


def test_a_computation_past_its_deadline_is_not_started() -> None:
    released = threading.Event()

    async def late() -> None:
        workers = Workers(1, stuck_after_s=60)
        busy = asyncio.ensure_future(workers.run(Deadline(), released.wait, TIMEOUT_S))
        await let_tasks_run()
        queued = workers.run(Deadline.after(0.01), pytest.fail, "this was computed")
        asyncio.get_running_loop().call_later(0.05, released.set)
        with pytest.raises(DeadlineExceeded):
            await queued
        await busy

    asyncio.run(late())


def test_a_long_queue_does_not_fail_a_health_check() -> None:
    released = threading.Event()

    async def check() -> None:
        workers = Workers(1, stuck_after_s=TIMEOUT_S)
        queue = [
            asyncio.ensure_future(workers.run(Deadline(), released.wait, TIMEOUT_S))
            for _ in range(40)
        ]
        await let_tasks_run()
        await workers.check_health(lambda: None)
        assert not any(work.done() for work in queue)
        released.set()
        await asyncio.gather(*queue)

    asyncio.run(check())


def test_one_stuck_computation_fails_the_health_check_while_others_end() -> None:
    released = threading.Event()

    async def check_while_others_end(workers: Workers) -> None:
        while time.monotonic() < began + TIMEOUT_S:
            await workers.run(Deadline(), time.sleep, 0.01)
            await workers.check_health(lambda: None)

    began = time.monotonic()

    async def check() -> None:
        workers = Workers(2, stuck_after_s=0.2)
        stuck = asyncio.ensure_future(workers.run(Deadline(), released.wait, TIMEOUT_S))
        with pytest.raises(Stuck, match="has not ended"):
            await check_while_others_end(workers)
        assert time.monotonic() >= began + 0.2
        released.set()
        await stuck
        await workers.check_health(lambda: None)

    asyncio.run(check())


def test_a_canary_that_fails_fails_the_health_check() -> None:
    def canary() -> None:
        raise ValueError("no answer")

    with pytest.raises(ValueError, match="no answer"):
        asyncio.run(Workers(1, stuck_after_s=60).check_health(canary))


def test_busy_time_counts_concurrent_computations_but_no_canary() -> None:
    workers = Workers(2, stuck_after_s=60)
    both_run = threading.Barrier(2, timeout=TIMEOUT_S)

    def compute() -> None:
        both_run.wait()
        time.sleep(0.1)

    async def compute_twice() -> None:
        await asyncio.gather(*(workers.run(Deadline(), compute) for _ in range(2)))

    asyncio.run(compute_twice())
    stats = workers.stats()
    assert stats["workers"] == 2
    assert stats["busy_s"] >= 0.2
    asyncio.run(workers.check_health(lambda: time.sleep(0.05)))
    assert workers.stats() == stats


def test_the_load_is_that_of_the_feeders_if_they_are_busier_than_the_workers() -> None:
    workers = Workers(4, stuck_after_s=60, feeders=1)
    fed = threading.Event()

    def done(_: object) -> None:
        fed.set()

    def sleep(items: Sequence[float]) -> Sequence[float]:
        time.sleep(sum(items))
        return items

    feeder: Feeder[float, float] = workers.feeder(sleep, max_batch_size=1)
    feeder.submit([Queued(0.1, Deadline(), done, lambda: True)])
    assert fed.wait(TIMEOUT_S)
    asyncio.run(workers.run(Deadline(), time.sleep, 0.1))
    stats = workers.stats()
    assert stats["workers"] == 4
    assert 0.4 <= stats["busy_s"] < 0.8  # one of one feeder, where one of four workers was busy


def test_a_stuck_feeder_fails_the_health_check() -> None:
    released = threading.Event()
    workers = Workers(1, stuck_after_s=0.1, feeders=1)

    def wait(items: Sequence[float]) -> Sequence[float]:
        released.wait(TIMEOUT_S)
        return items

    feeder: Feeder[float, float] = workers.feeder(wait, max_batch_size=1)
    feeder.submit([Queued(0.1, Deadline(), lambda _: None, lambda: True)])
    time.sleep(0.2)
    with pytest.raises(Stuck):
        asyncio.run(workers.check_health(lambda: None))
    released.set()


def test_busy_time_counts_failed_computations() -> None:
    busy_time = BusyTime(workers=1)

    def fail() -> None:
        with busy_time.counted():
            time.sleep(0.05)
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    assert busy_time.stats()["busy_s"] >= 0.05
