"""What happens to a call whose replica dies or falls silent."""

from pydantic import Field

from configs.base import Config


class RetryConfig(Config):
    attempts: int = Field(
        default=3,
        ge=1,
        le=10,
        description="How often a stage's call is sent at most, the first time included, while the"
        " request has time left. Stages only compute, so sending twice harms nothing.",
    )
    backoff_s: float = Field(
        default=0.1,
        ge=0,
        description="Seconds until a call whose replica died is sent again; doubled each time.",
    )
    silent_after_s: float = Field(
        default=15.0,
        gt=0,
        description="Seconds without an answer after which a call is sent once more, and whichever"
        " answers first counts; a replica that answered no call for so long is passed over while"
        " there are others. Should not be below request_limits.max_wait_s, or calls that only wait"
        " their turn are sent twice, and be below request_limits.timeout_s.",
    )
