"""How several recognizers become one decision."""

from typing import Literal

from pydantic import Field

from configs.base import Config


class AggregatorConfig(Config):
    fusion: Literal["mean", "max"] = Field(
        default="mean",
        description="Similarity of several recognizers: mean of the cosines, held against the mean"
        " of the thresholds; or the cosine that lies furthest above its threshold.",
    )
