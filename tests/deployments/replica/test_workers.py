"""A replica's threads: their health checks, their deadlines and the measurement of their work."""

import asyncio
import threading
import time

import pytest

from deployments.errors import DeadlineExceeded
from deployments.replica.deadline import Deadline
from deployments.replica.workers import BusyTime, Stuck, Workers


def test_a_computation_past_its_deadline_is_not_started() -> None:
    async def late() -> None:
        workers = Workers(1, stuck_after_s=60)
        busy = asyncio.ensure_future(workers.run(Deadline(), time.sleep, 0.2))
        await asyncio.sleep(0.05)
        with pytest.raises(DeadlineExceeded):
            await workers.run(Deadline.after(0.01), pytest.fail, "this was computed")
        await busy

    asyncio.run(late())


def test_a_long_queue_does_not_fail_a_health_check() -> None:
    async def check() -> None:
        workers = Workers(1, stuck_after_s=60)
        queue = [
            asyncio.ensure_future(workers.run(Deadline(), time.sleep, 0.05)) for _ in range(40)
        ]
        await asyncio.sleep(0.01)
        await asyncio.wait_for(workers.check_health(lambda: None), timeout=1)
        assert not all(work.done() for work in queue)
        for work in queue:
            work.cancel()

    asyncio.run(check())


def test_one_stuck_computation_fails_the_health_check_while_others_end() -> None:
    released = threading.Event()

    async def check() -> None:
        workers = Workers(2, stuck_after_s=0.2)
        stuck = asyncio.ensure_future(workers.run(Deadline(), released.wait, 60))
        for _ in range(3):
            await workers.run(Deadline(), time.sleep, 0.01)
        await workers.check_health(lambda: None)
        await asyncio.sleep(0.3)
        with pytest.raises(Stuck, match="has not ended"):
            await workers.check_health(lambda: None)
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

    async def compute() -> None:
        run = workers.run(Deadline(), time.sleep, 0.2)
        probe = workers.check_health(lambda: time.sleep(0.2))
        await asyncio.gather(run, workers.run(Deadline(), time.sleep, 0.2), probe)

    asyncio.run(compute())
    stats = workers.busy_time.stats()
    assert stats["workers"] == 2
    assert stats["busy_s"] >= 0.4
    assert stats["busy_s"] < 0.59  # with the probe it would be 0.6 at least


def test_busy_time_counts_failed_computations() -> None:
    busy_time = BusyTime(workers=1)

    def fail() -> None:
        with busy_time.counted():
            time.sleep(0.05)
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    assert busy_time.stats()["busy_s"] >= 0.05
