"""Configuration of classifier pools, and of the liveness that some of them decide."""

from typing import Annotated

from pydantic import AfterValidator, Field

from configs.base import Config
from configs.catalogue import Classification, model_id_validator
from configs.model import ChipModelConfig


class ClassifierConfig(ChipModelConfig):
    model: Annotated[str, AfterValidator(model_id_validator("classifier"))] = Field(
        description="Id of the classifier, from `models`."
    )
    min_face_px: float | None = Field(
        default=None,
        ge=0,
        description="Shorter side of the smallest box that is decided on, in pixels; a smaller face"
        " is uncertain. null: the side from which the chip is not enlarged, the chip's `size`"
        " divided by its `scale`.",
    )
    min_visible: float = Field(
        default=0.25,
        ge=0,
        le=1,
        description="Least share of the area around the face that the photo must have; with less,"
        " the face is uncertain. A face that is cut by the photo's edge always is.",
    )

    @property
    def classification(self) -> Classification:
        classification = self.entry.classification
        assert classification is not None  # every classifier has one
        return classification

    @property
    def smallest_face_px(self) -> float:
        """The configured `min_face_px`, else that of a chip that is not enlarged."""
        if self.min_face_px is not None:
            return self.min_face_px
        return self.classification.size / self.classification.scale


class LivenessConfig(Config):
    classifiers: tuple[str, ...] = Field(
        min_length=1,
        max_length=8,
        description="Pools of `classifiers` that judge a face together: the mean of their scores of"
        " `label` is its liveness.",
    )
    label: str = Field(default="live", description="The label of a live face, in every pool.")
    threshold: float = Field(
        gt=0, lt=1, description="Lowest score of a live face; a lower one is a spoof."
    )
