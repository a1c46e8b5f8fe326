"""The aligner's configuration."""

from pydantic import Field

from configs.base import Config, StuckAfter


class AlignerConfig(Config):
    workers: int = Field(
        default=2, ge=1, le=256, description="Photos that one replica aligns at the same time."
    )
    stuck_after_s: StuckAfter = 60.0
