"""An autoscaling policy that sizes all stages together, by the arrivals at the ingress.

    autoscaling_policy:
      policy_function: graph.autoscaling:LittlesLaw
      policy_kwargs: {utilisation: 0.7}

Serve's own policy counts the calls of each stage. It would not see the load here, as requests share
calls.

The arithmetic is operational analysis (Denning and Buzen, Computing Surveys 10(3), 1978); Little's
law is one of its laws. If the workers of a stage are busy for B seconds while the graph
finishes C requests, the service demand of a request at that stage is D = B/C worker-seconds,
however often the request visits the stage and however large the batches are. At L requests per
second the workers are busy for L x D of every second, so that the stage needs L x D / utilisation
workers.

L is the arrival rate at the ingress. A stage receives no more than the stages before it finish:
sized by its own arrivals, it would grow only after them. Clients that wait for an answer before
they ask again send nothing while the graph is slow: then L is their last rate, spread over the time
since.

The policy runs in Serve's controller and raises no exception, which would keep the controller from
updating anything. Serve applies each deployment's delays, factors and bounds to its decisions.
"""

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from configs.scaling import LittlesLawConfig

POLICY = f"{__name__}:LittlesLaw"
INGRESS = "Ingress"

# One replica's reports of a counter: (seconds since the epoch, value), oldest first.
Series = Sequence[tuple[float, float]]

# While arrivals and completions differ by more than this share, busy time per completion is not the
# service demand: the first stages work on requests that the graph has not finished.
_BALANCED = 0.1
# Fractions of a replica below this are not rounded up.
_NEGLIGIBLE = 1e-3

logger = logging.getLogger("ray.serve")


@dataclass(frozen=True)
class Traffic:
    """Requests per second at the ingress; None if nothing has been reported.

    arriving: over `arrivals_window_s`. arrived and finished: over Serve's whole look-back period.
    under_way: requests that have no answer yet.
    """

    arriving: float | None
    arrived: float | None
    finished: float | None
    under_way: float = 0.0

    @property
    def balanced(self) -> bool:
        if self.arrived is None or self.finished is None:
            return False
        return abs(self.arrived - self.finished) <= _BALANCED * max(self.arrived, self.finished)


@dataclass(frozen=True)
class StageLoad:
    """The replicas, bounds and load of a stage.

    replicas: the current target. workers: of one replica. busy: worker-seconds per second of all
    replicas over the look-back; None if nothing has been reported. queued: requests that the stage
    works on or that wait for it.
    """

    replicas: int
    minimum: int
    maximum: int
    workers: float
    busy: float | None
    queued: float = 0.0


def growth_rate(series: Series, window_s: float = math.inf) -> float | None:
    """Growth per second of a counter over its last `window_s` seconds, or a little more.

    None with fewer than two reports.
    """
    if len(series) < 2:
        return None
    until, last = series[-1]
    before = [point for point in series[:-1] if point[0] <= until - window_s]
    since, first = before[-1] if before else series[0]
    return (last - first) / (until - since) if until > since else None


def total_growth_rate(replicas: Iterable[Series], window_s: float = math.inf) -> float | None:
    """Sum of the replicas' growth rates; None if no replica has reported twice."""
    rates = [rate for series in replicas if (rate := growth_rate(series, window_s)) is not None]
    return sum(rates) if rates else None


def replicas_needed(load: float, *, workers: float, utilisation: float) -> int:
    """The number of replicas for a load; 0 for none.

    load: worker-seconds per second. workers: of one replica.
    """
    return max(0, math.ceil(load / (workers * utilisation) - _NEGLIGIBLE))


class StageSizer:
    """Computes the replicas of all stages, and keeps a moving average of their service demands."""

    def __init__(self, config: LittlesLawConfig) -> None:
        self._config = config
        self._demands_s: dict[str, float] = {}  # worker-seconds per request
        self._settled: set[str] = set()  # stages whose demand is from balanced traffic
        self._learned_at: float | None = None
        self._last_arrivals = (0.0, 0.0)  # when the last were seen, and their rate

    def update(
        self, now: float, traffic: Traffic, stages: Mapping[str, StageLoad]
    ) -> dict[str, int]:
        """Return the replicas by stage; a stage with too few reports keeps its size.

        now: seconds, by any clock.
        """
        self._learn(now, traffic, stages)
        traffic = replace(traffic, arriving=self._arriving(now, traffic))
        return {name: self._size(name, stage, traffic) for name, stage in stages.items()}

    def _learn(self, now: float, traffic: Traffic, stages: Mapping[str, StageLoad]) -> None:
        elapsed = 0.0 if self._learned_at is None else now - self._learned_at
        self._learned_at = now
        weight = 1 - math.exp(-elapsed / self._config.memory_s)
        for name, stage in stages.items():
            if stage.busy is None or not traffic.finished:
                continue
            demand_s = stage.busy / traffic.finished
            if name not in self._settled:
                self._demands_s[name] = demand_s
                if traffic.balanced:
                    self._settled.add(name)
            elif traffic.balanced:
                self._demands_s[name] += weight * (demand_s - self._demands_s[name])

    def _arriving(self, now: float, traffic: Traffic) -> float | None:
        """The arrival rate; of clients that all wait for an answer, it is the mean since their last
        requests."""
        if traffic.arriving is None:
            return None
        if traffic.arriving or not traffic.under_way:
            self._last_arrivals = (now, traffic.arriving)
            return traffic.arriving
        seen_at, rate = self._last_arrivals
        window_s = self._config.arrivals_window_s
        return rate * window_s / (window_s + now - seen_at)

    def _size(self, name: str, stage: StageLoad, traffic: Traffic) -> int:
        if stage.replicas == 0:  # Serve itself starts the first replica, at the first request
            return 0
        demand_s = self._demands_s.get(name)
        if traffic.arriving is None or (demand_s is None and traffic.arriving):
            return stage.replicas
        load = traffic.arriving * (demand_s or 0.0)
        if stage.minimum == 0 and not stage.busy and not stage.queued:
            load = 0.0  # the pool is idle, though other pools have requests
        return max(stage.minimum, min(stage.maximum, self._wanted(load, stage)))

    def _wanted(self, load: float, stage: StageLoad) -> int:
        target = self._config.utilisation
        wanted = replicas_needed(load, workers=stage.workers, utilisation=target)
        if wanted >= stage.replicas:
            return wanted
        below = target * (1 - self._config.hysteresis)
        fewer = replicas_needed(load, workers=stage.workers, utilisation=below)
        return min(stage.replicas, fewer)


class LittlesLaw:
    """The policy as Serve calls it, with the metrics that the replicas recorded."""

    def __init__(self, **kwargs: Any) -> None:
        """kwargs: LittlesLawConfig's fields. A wrong one is logged, and no stage is scaled."""
        self._sizer: StageSizer | None = None
        self._failed = False
        try:
            self._config = LittlesLawConfig.model_validate(kwargs)
            self._sizer = StageSizer(self._config)
        except Exception as error:
            logger.error("autoscaling_policy.policy_kwargs: %s; no stage is scaled", error)

    def __call__(
        self, contexts: Mapping[Any, Any]
    ) -> tuple[dict[Any, int | float], dict[Any, Any]]:
        """Return the target replicas by DeploymentID, and an empty state for Serve to keep."""
        try:
            return self._decide(contexts), {}
        except Exception as error:
            if not self._failed:
                logger.exception(
                    "the autoscaling policy failed; stages keep their sizes: %s", error
                )
            self._failed = True
            return _current_sizes(contexts), {}

    def _decide(self, contexts: Mapping[Any, Any]) -> dict[Any, int | float]:
        if self._sizer is None:
            return _current_sizes(contexts)
        by_name = {context.deployment_name: context for context in contexts.values()}
        stages = {name: _stage_load(context) for name, context in by_name.items()}
        now = max(context.current_time for context in contexts.values())
        sizes = self._sizer.update(now, self._traffic(by_name[INGRESS]), stages)
        return {key: sizes[context.deployment_name] for key, context in contexts.items()}

    def _traffic(self, ingress: Any) -> Traffic:
        arrivals = _series(ingress, "arrived")
        return Traffic(
            arriving=total_growth_rate(arrivals, self._config.arrivals_window_s),
            arrived=total_growth_rate(arrivals),
            finished=total_growth_rate(_series(ingress, "finished")),
            under_way=sum(series[-1][1] for series in _series(ingress, "under_way") if series),
        )


def _current_sizes(contexts: Mapping[Any, Any]) -> dict[Any, int | float]:
    return {key: context.target_num_replicas for key, context in contexts.items()}


def _stage_load(context: Any) -> StageLoad:
    workers = [series[-1][1] for series in _series(context, "workers") if series]
    return StageLoad(
        replicas=context.target_num_replicas,
        minimum=context.capacity_adjusted_min_replicas,
        maximum=context.capacity_adjusted_max_replicas,
        workers=workers[-1] if workers else 1.0,
        busy=total_growth_rate(_series(context, "busy_s")),
        queued=context.total_num_requests,
    )


def _series(context: Any, name: str) -> list[Series]:
    """Each replica's reports of one value of its `record_autoscaling_stats`."""
    reported = (context.raw_metrics or {}).get(name, {})
    return [[(point.timestamp, point.value) for point in series] for series in reported.values()]
