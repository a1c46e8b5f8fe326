"""How several recognizers become one decision."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from configs.base import Config

Weight = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Fusion = Literal["mean", "weighted", "max"]


class AggregatorConfig(Config):
    fusion: Fusion = Field(
        default="mean",
        description="Similarity of several recognizers. mean: mean of the cosines, held against the"
        " mean of the thresholds; weighted: the same with `weights`; max: the cosine that lies"
        " furthest above its own threshold, held against that.",
    )
    weights: dict[str, Weight] = Field(
        default_factory=dict,
        description="With fusion weighted: each pool's weight; only their ratios count.",
    )

    @model_validator(mode="after")
    def _weights_are_given_and_used(self) -> "AggregatorConfig":
        if bool(self.weights) != (self.fusion == "weighted"):
            raise ValueError("weights: needed with fusion weighted, and only there")
        return self
