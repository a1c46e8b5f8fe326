"""The policy that sizes all stages together: `autoscaling_policy.policy_kwargs` in the file."""

from pydantic import Field

from configs.base import Config


class LittlesLawConfig(Config):
    utilisation: float = Field(
        default=0.7,
        gt=0,
        le=1,
        description="Share of the time that a stage's workers should be busy. The rest is for"
        " arrivals that come in clusters: with a tenth left over, queues are long.",
    )
    hysteresis: float = Field(
        default=0.15,
        ge=0,
        lt=1,
        description="A stage gives up a replica only if the others would stay this share below"
        " `utilisation`, so that traffic near the border of a size does not move it to and fro.",
    )
    arrivals_window_s: float = Field(
        default=5.0,
        gt=0,
        description="The arrival rate is that of the last so many seconds: short follows bursts,"
        " long overlooks chance. Replicas report every metrics_interval_s of their deployment.",
    )
    memory_s: float = Field(
        default=60.0,
        gt=0,
        description="Time constant at which a stage's measured work per request is averaged.",
    )
