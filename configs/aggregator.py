"""The aggregator's configuration: the fusion of several recognizers."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from configs.base import Config

Weight = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Fusion = Literal["mean", "weighted", "max"]


class AggregatorConfig(Config):
    fusion: Fusion = Field(
        default="mean",
        description="Fusion of several recognizers. mean: the mean of the cosines, compared with"
        " the mean of the thresholds; weighted: the same with `weights`; max: the cosine that lies"
        " furthest above its own threshold, compared with that threshold.",
    )
    weights: dict[str, Weight] = Field(
        default_factory=dict,
        description="Each pool's weight, for fusion `weighted`; only their ratios count.",
    )

    @model_validator(mode="after")
    def _weights_are_given_and_used(self) -> "AggregatorConfig":
        if bool(self.weights) != (self.fusion == "weighted"):
            raise ValueError("weights: needed with fusion weighted, and only there")
        return self
