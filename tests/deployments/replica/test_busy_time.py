import asyncio
import time

import pytest

from deployments.replica.deadline import Deadline
from deployments.replica.workers import BusyTime, Workers


def test_workers_count_what_they_compute_at_the_same_time_and_probes_not_at_all() -> None:
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


def test_work_that_fails_counts_too() -> None:
    busy_time = BusyTime(workers=1)

    def fail() -> None:
        with busy_time.counted():
            time.sleep(0.05)
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    assert busy_time.stats()["busy_s"] >= 0.05
