"""Configuration of the autoscaling policy: `autoscaling_policy.policy_kwargs` in the file."""

from pydantic import Field

from configs.base import Config


class LittlesLawConfig(Config):
    """Parameters of graph.autoscaling:LittlesLaw, whose module explains the arithmetic."""

    utilisation: float = Field(
        default=0.7,
        gt=0,
        le=1,
        description="Target share of time that a stage's workers are busy. The rest is headroom"
        " for bursts: at 0.9, queues are long.",
    )
    hysteresis: float = Field(
        default=0.15,
        ge=0,
        lt=1,
        description="A replica is removed only if the others stay this share below `utilisation`,"
        " so that traffic near the border between two sizes does not move a stage to and fro.",
    )
    arrivals_window_s: float = Field(
        default=5.0,
        gt=0,
        description="Seconds over which the arrival rate is measured: a short window follows"
        " bursts, a long one smooths noise. Replicas report every metrics_interval_s of their"
        " deployment.",
    )
    memory_s: float = Field(
        default=60.0,
        gt=0,
        description="Time constant, in seconds, of the moving average of a stage's busy time per"
        " request.",
    )
