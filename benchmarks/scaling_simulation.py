"""A simulation of stages in series, their queues and replicas, under the real autoscaling policies.

Requests arrive at random (Poisson) and pass the stages in order. A stage has one queue for all its
replicas, each of which works on one request at a time, with exponential service times. A new
replica serves after `startup_s`. Every second the policy gets each stage's measurements, and its
decision goes through Serve's own scaling factors and delays.
"""

import heapq
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count

import numpy as np
from ray.serve.autoscaling_policy import (
    _apply_delay_logic,
    _apply_scaling_factors,
    replica_queue_length_autoscaling_policy,
)
from ray.serve.config import AutoscalingConfig, AutoscalingContext

from graph.autoscaling import StageLoad, StageSizer, Traffic, growth_rate

TICK_S = 1.0


@dataclass(frozen=True)
class Burst:
    """Requests per second before, during and after the burst, and its times in seconds."""

    usual: float
    burst: float
    begins_s: float
    ends_s: float
    until_s: float

    def rate(self, now: float) -> float:
        return self.burst if self.begins_s <= now < self.ends_s else self.usual

    def arrivals(self, seed: int) -> list[float]:
        """Random times: drawn at the burst's rate, thinned where the rate is lower."""
        random = np.random.default_rng(seed)
        number = random.poisson(self.burst * self.until_s)
        times = np.sort(random.uniform(0, self.until_s, number))
        kept = random.uniform(0, self.burst, number) < [self.rate(time) for time in times]
        return [float(time) for time in times[kept]]


@dataclass
class Queue:
    """One stage: its waiting requests, its replicas and its measurements.

    ongoing and busy: requests in the stage, and busy seconds so far, by time.
    """

    service_s: float
    running: int = 1
    target: int = 1
    waiting: deque[int] = field(default_factory=deque)
    served: int = 0
    busy_s: float = 0.0
    replica_s: float = 0.0
    state: dict[str, object] = field(default_factory=dict)
    ongoing: list[tuple[float, float]] = field(default_factory=list)
    busy: list[tuple[float, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Measurements:
    """A policy's input: cumulative counts of requests by time, and the queues."""

    arrived: Sequence[tuple[float, float]]
    finished: Sequence[tuple[float, float]]
    queues: Mapping[str, Queue]


Policy = Callable[[float, Measurements], Mapping[str, float]]


@dataclass(frozen=True)
class Outcome:
    """Latencies in s with the time of arrival; replica-seconds; replicas by stage and second."""

    latencies: list[tuple[float, float]]
    replica_s: float
    replicas: dict[str, list[int]]


def serves_policy(config: AutoscalingConfig) -> Policy:
    """Serve's default policy: ongoing requests, averaged over the look-back, by the target."""

    def decide(now: float, seen: Measurements) -> dict[str, float]:
        return {name: _by_ongoing(queue, config, now) for name, queue in seen.queues.items()}

    return decide


def littles_law(sizer: StageSizer, config: AutoscalingConfig, arrivals_window_s: float) -> Policy:
    """The graph's policy (graph/autoscaling.py)."""

    def decide(now: float, seen: Measurements) -> Mapping[str, float]:
        since = now - config.look_back_period_s
        arrived, finished = (
            [point for point in series if point[0] >= since]
            for series in (seen.arrived, seen.finished)
        )
        traffic = Traffic(
            growth_rate(arrived, arrivals_window_s), growth_rate(arrived), growth_rate(finished)
        )
        stages = {
            name: StageLoad(
                replicas=queue.target,
                minimum=config.min_replicas or 0,
                maximum=config.max_replicas,
                workers=1.0,
                busy=growth_rate([point for point in queue.busy if point[0] >= since]),
            )
            for name, queue in seen.queues.items()
        }
        return sizer.update(now, traffic, stages)

    return decide


class Simulation:
    def __init__(
        self,
        burst: Burst,
        service_s: Mapping[str, float],
        policy: Policy,
        config: AutoscalingConfig,
        startup_s: float,
        seed: int,
    ) -> None:
        self._policy, self._config, self._startup_s = policy, config, startup_s
        self._until_s = burst.until_s
        self._random = np.random.default_rng(seed + 1)
        self._queues = {name: Queue(seconds) for name, seconds in service_s.items()}
        self._names = list(service_s)
        self._arrivals = burst.arrivals(seed)
        self._latencies: list[tuple[float, float]] = []
        self._begun = 0
        self._arrived: list[tuple[float, float]] = []
        self._finished: list[tuple[float, float]] = []
        self._replicas: dict[str, list[int]] = {name: [] for name in service_s}
        self._order = count()
        self._events: list[tuple[float, int, Callable[[float], None]]] = []

    def run(self) -> Outcome:
        for request, time in enumerate(self._arrivals):
            self._at(time, partial(self._arrive, request=request))
        self._at(TICK_S, self._tick)
        while self._events:
            now, _, happen = heapq.heappop(self._events)
            happen(now)
        spent = sum(queue.replica_s for queue in self._queues.values())
        return Outcome(sorted(self._latencies), spent, self._replicas)

    def _at(self, time: float, happen: Callable[[float], None]) -> None:
        heapq.heappush(self._events, (time, next(self._order), happen))

    def _arrive(self, now: float, request: int) -> None:
        self._begun += 1
        self._enter(now, request, 0)

    def _enter(self, now: float, request: int, place: int) -> None:
        if place == len(self._names):
            arrived = self._arrivals[request]
            self._latencies.append((arrived, now - arrived))
            return
        self._queues[self._names[place]].waiting.append(request)
        self._serve(now, place)

    def _serve(self, now: float, place: int) -> None:
        queue = self._queues[self._names[place]]
        while queue.waiting and queue.served < queue.running:
            request, seconds = queue.waiting.popleft(), self._random.exponential(queue.service_s)
            queue.served += 1
            leave = partial(self._leave, request=request, place=place, seconds=seconds)
            self._at(now + seconds, leave)

    def _leave(self, now: float, request: int, place: int, seconds: float) -> None:
        queue = self._queues[self._names[place]]
        queue.served -= 1
        queue.busy_s += seconds
        self._serve(now, place)
        self._enter(now, request, place + 1)

    def _tick(self, now: float) -> None:
        self._arrived.append((now, self._begun))
        self._finished.append((now, len(self._latencies)))
        for queue in self._queues.values():
            queue.ongoing.append((now, len(queue.waiting) + queue.served))
            queue.busy.append((now, queue.busy_s))
            queue.replica_s += TICK_S * max(queue.target, queue.running)
        wanted = self._policy(now, Measurements(self._arrived, self._finished, self._queues))
        for place, (name, queue) in enumerate(self._queues.items()):
            self._scale(now, place, queue, wanted[name])
            self._replicas[name].append(queue.running)
        if now < self._until_s or any(queue.served for queue in self._queues.values()):
            self._at(now + TICK_S, self._tick)

    def _scale(self, now: float, place: int, queue: Queue, wanted: float) -> None:
        scaled = _apply_scaling_factors(wanted, queue.running, self._config)
        decided, queue.state = _apply_delay_logic(
            max(0, scaled), queue.target, self._config, queue.state, now
        )
        low, high = self._config.min_replicas or 0, self._config.max_replicas
        more = max(low, min(high, decided)) - queue.target
        queue.target += more
        if more < 0:
            queue.running = max(low, queue.running + more)

        def start(then: float) -> None:
            if queue.running < queue.target:
                queue.running += 1
                self._serve(then, place)

        for _ in range(more):
            self._at(now + self._startup_s, start)


def _by_ongoing(queue: Queue, config: AutoscalingConfig, now: float) -> float:
    since = now - config.look_back_period_s
    ongoing = float(np.mean([number for time, number in queue.ongoing if time >= since]))
    context = AutoscalingContext(
        deployment_id=None,  # type: ignore[arg-type]
        deployment_name="",
        app_name=None,
        current_num_replicas=queue.running,
        target_num_replicas=queue.target,
        running_replicas=[],
        total_num_requests=ongoing,
        total_queued_requests=0.0,
        aggregated_metrics=None,
        raw_metrics=None,
        capacity_adjusted_min_replicas=config.min_replicas or 0,
        capacity_adjusted_max_replicas=config.max_replicas,
        policy_state={},
        last_scale_up_time=None,
        last_scale_down_time=None,
        current_time=now,
        config=config,
    )
    wanted, _ = replica_queue_length_autoscaling_policy(context)
    return wanted
