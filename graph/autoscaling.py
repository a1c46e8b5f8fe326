"""Serve's hook for `graph.autoscaling`: an application's `autoscaling_policy`.

    autoscaling_policy:
      policy_function: graph.autoscaling:LittlesLaw
      policy_kwargs: {utilisation: 0.7}

It runs in Serve's controller, which an exception would keep from updating anything: none leaves it.
Serve then applies each deployment's delays, factors and bounds to what it answers.
"""

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from configs.scaling import LittlesLawConfig

# Seconds since the epoch and a count that only grows, oldest first: what one replica reported.
Series = Sequence[tuple[float, float]]

# While arrivals and completions differ by more than this share, what a request costs is not known:
# the stages near the ingress work on requests that nobody finishes.
_BALANCED = 0.1
# Below a thousandth of a replica nothing is rounded up.
_NOTHING = 1e-3


@dataclass(frozen=True)
class Traffic:
    """Requests per second at the ingress; None where nothing has been reported.

    arriving: over the policy's short window. arrived and finished: over the whole look-back.
    """

    arriving: float | None
    arrived: float | None
    finished: float | None

    @property
    def balanced(self) -> bool:
        if self.arrived is None or self.finished is None:
            return False
        return abs(self.arrived - self.finished) <= _BALANCED * max(self.arrived, self.finished)


@dataclass(frozen=True)
class Stage:
    """What is known of a stage.

    replicas: that it is to have now. workers: of one replica. busy: worker-seconds per second of
    all its replicas over the look-back; None where nothing has been reported. queued: requests
    that it holds or that wait for it.
    """

    replicas: int
    minimum: int
    maximum: int
    workers: float
    busy: float | None
    queued: float = 0.0


def growth_rate(series: Series, window_s: float = math.inf) -> float | None:
    """Growth per second over the last `window_s` seconds of the series, or a little more."""
    if len(series) < 2:
        return None
    until, last = series[-1]
    before = [point for point in series[:-1] if point[0] <= until - window_s]
    since, first = before[-1] if before else series[0]
    return (last - first) / (until - since) if until > since else None


def total_growth_rate(replicas: Iterable[Series], window_s: float = math.inf) -> float | None:
    """Of all replicas together; None where none of them has reported twice."""
    rates = [rate for series in replicas if (rate := growth_rate(series, window_s)) is not None]
    return sum(rates) if rates else None


def replicas_needed(load: float, *, workers: float, utilisation: float) -> int:
    """load: worker-seconds per second. Returns 0 where there is none."""
    return max(0, math.ceil(load / (workers * utilisation) - _NOTHING))


class Sizes:
    """The sizes of all stages, again and again; what a request costs is remembered in between."""

    def __init__(self, config: LittlesLawConfig) -> None:
        self._config = config
        self._costs: dict[str, float] = {}
        self._guessed: set[str] = set()
        self._learned_at: float | None = None

    def update(self, now: float, traffic: Traffic, stages: Mapping[str, Stage]) -> dict[str, int]:
        """now: seconds by any clock. A stage of which too little is known keeps its size."""
        self._learn(now, traffic, stages)
        return {name: self._size(name, stage, traffic) for name, stage in stages.items()}

    def _learn(self, now: float, traffic: Traffic, stages: Mapping[str, Stage]) -> None:
        elapsed = 0.0 if self._learned_at is None else now - self._learned_at
        self._learned_at = now
        weight = 1 - math.exp(-elapsed / self._config.memory_s)
        for name, stage in stages.items():
            if stage.busy is None or not traffic.finished:
                continue
            cost = stage.busy / traffic.finished
            if name not in self._costs or name in self._guessed:
                self._costs[name] = cost
                (self._guessed.discard if traffic.balanced else self._guessed.add)(name)
            elif traffic.balanced:
                self._costs[name] += weight * (cost - self._costs[name])

    def _size(self, name: str, stage: Stage, traffic: Traffic) -> int:
        if stage.replicas == 0:  # Serve wakes it at the first request for it
            return 0
        cost = self._costs.get(name)
        if traffic.arriving is None or (cost is None and traffic.arriving):
            return stage.replicas
        load = traffic.arriving * (cost or 0.0)
        if stage.minimum == 0 and not stage.busy and not stage.queued:
            load = 0.0  # nobody asks for this pool, whatever others ask for
        return max(stage.minimum, min(stage.maximum, self._wanted(load, stage)))

    def _wanted(self, load: float, stage: Stage) -> int:
        aim = self._config.utilisation
        wanted = replicas_needed(load, workers=stage.workers, utilisation=aim)
        if wanted >= stage.replicas:
            return wanted
        below = aim * (1 - self._config.hysteresis)
        fewer = replicas_needed(load, workers=stage.workers, utilisation=below)
        return min(stage.replicas, fewer)


POLICY = f"{__name__}:LittlesLaw"
INGRESS = "Ingress"

logger = logging.getLogger("ray.serve")


class LittlesLaw:
    def __init__(self, **kwargs: Any) -> None:
        """Raises nothing: with kwargs that LittlesLawConfig refuses, every stage keeps its size."""
        self._sizes: Sizes | None = None
        self._failed = False
        try:
            self._config = LittlesLawConfig.model_validate(kwargs)
            self._sizes = Sizes(self._config)
        except Exception as error:
            logger.error("autoscaling_policy.policy_kwargs: %s; no stage is scaled", error)

    def __call__(
        self, contexts: Mapping[Any, Any]
    ) -> tuple[dict[Any, int | float], dict[Any, Any]]:
        try:
            return self._decide(contexts), {}
        except Exception as error:
            if not self._failed:
                logger.exception(
                    "the autoscaling policy failed; stages keep their sizes: %s", error
                )
            self._failed = True
            return {key: context.target_num_replicas for key, context in contexts.items()}, {}

    def _decide(self, contexts: Mapping[Any, Any]) -> dict[Any, int | float]:
        if self._sizes is None:
            return {key: context.target_num_replicas for key, context in contexts.items()}
        by_name = {context.deployment_name: context for context in contexts.values()}
        stages = {name: _stage(context) for name, context in by_name.items()}
        now = max(context.current_time for context in contexts.values())
        sizes = self._sizes.update(now, self._traffic(by_name[INGRESS]), stages)
        return {key: sizes[context.deployment_name] for key, context in contexts.items()}

    def _traffic(self, ingress: Any) -> Traffic:
        arrivals, ends = _series(ingress, "arrived"), _series(ingress, "finished")
        return Traffic(
            arriving=total_growth_rate(arrivals, self._config.arrivals_window_s),
            arrived=total_growth_rate(arrivals),
            finished=total_growth_rate(ends),
        )


def _stage(context: Any) -> Stage:
    workers = [series[-1][1] for series in _series(context, "workers") if series]
    return Stage(
        replicas=context.target_num_replicas,
        minimum=context.capacity_adjusted_min_replicas,
        maximum=context.capacity_adjusted_max_replicas,
        workers=workers[-1] if workers else 1.0,
        busy=total_growth_rate(_series(context, "busy_s")),
        queued=context.total_num_requests,
    )


def _series(context: Any, name: str) -> list[Series]:
    """What each replica's `record_autoscaling_stats` said under this name."""
    reported = (context.raw_metrics or {}).get(name, {})
    return [[(point.timestamp, point.value) for point in series] for series in reported.values()]
