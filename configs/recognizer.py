"""A recognizer pool's configuration."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from configs.catalogue import model_id_validator
from configs.model import ChipModelConfig


class RecognizerConfig(ChipModelConfig):
    model: Annotated[str, AfterValidator(model_id_validator("recognizer"))] = Field(
        default="arcface-mbf", description="Catalogue id of the recognizer."
    )
    threshold: float | None = Field(
        default=None,
        ge=-1,
        le=1,
        description="Lowest cosine of a match; null takes the catalogue's threshold.",
    )
    max_uncertainty: float | None = Field(
        default=None,
        gt=0,
        description="For a recognizer that gives uncertainties: a face with a higher uncertainty"
        " makes the decision uncertain, neither match nor mismatch; null sets no limit.",
    )
    min_quality: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="A face of a lower quality makes the decision uncertain, neither match nor"
        " mismatch; null takes the catalogue's limit, 0 sets none.",
    )
    cold_start: Literal["wait", "reject"] = Field(
        default="wait",
        description="Answer to a request while the pool has no replica, as after scaling to zero"
        " (min_replicas 0 in its autoscaling_config). wait: the request waits for a replica to"
        " start, until its deadline; reject: 503 with Retry-After, while a replica starts.",
    )

    @property
    def decision_threshold(self) -> float:
        """The configured threshold, else the catalogue's."""
        if self.threshold is not None:
            return self.threshold
        threshold = self.entry.threshold
        assert threshold is not None  # every recognizer has one
        return threshold

    @property
    def lowest_quality(self) -> float | None:
        """The configured `min_quality`, else the catalogue's; None for no limit."""
        limit = self.entry.min_quality if self.min_quality is None else self.min_quality
        return limit or None

    @property
    def threshold_source(self) -> str | None:
        """The origin of `decision_threshold`, in words."""
        if self.threshold is not None:
            return "configured"
        return self.entry.threshold_source
