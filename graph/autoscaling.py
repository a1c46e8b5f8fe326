"""Serve's hook for `graph.scaling`: an application's `autoscaling_policy`.

    autoscaling_policy:
      policy_function: graph.autoscaling:LittlesLaw
      policy_kwargs: {utilisation: 0.7}

It runs in Serve's controller, which an exception would keep from updating anything: none leaves it.
Serve then applies each deployment's delays, factors and bounds to what it answers.
"""

import logging
from collections.abc import Mapping
from typing import Any

from configs.scaling import LittlesLawConfig
from graph.scaling import Series, Sizes, Stage, Traffic, total_growth_rate

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
