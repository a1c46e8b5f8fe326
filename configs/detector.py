"""The detector's configuration."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from configs.catalogue import model_id_validator
from configs.model import ModelConfig

SecondPass = Literal["none", "pad", "enlarge", "both"]

# The settings of `damo/cv_resnet50_face-detection_retinaface`, and the smallest face that
# ModelScope's recognizers take.
_PRESETS: dict[str, dict[str, Any]] = {
    "published": {
        "max_side": 1000,
        "shrink_above": 1500,
        "pad_multiple": 1,
        "score_threshold": 0.9,
        "nms_iou": 0.4,
        "candidates": 5000,
        "max_faces": 750,
        "min_face_px": 10.0,
        "second_pass": "none",
    }
}


class DetectorConfig(ModelConfig):
    model: Annotated[str, AfterValidator(model_id_validator("detector"))] = Field(
        default="retinaface-mnet025", description="Catalogue id of the detector."
    )
    preset: Literal["published"] | None = Field(
        default=None,
        description="Defaults for the fields below. published: the settings of the published"
        " detector.",
    )
    max_side: int | None = Field(
        default=640,
        ge=32,
        le=8192,
        description="Photos with a longer side over this are shrunk to it for detection, in pixels;"
        " null detects at the photo's own size. Answers are in the photo's pixels either way.",
    )
    shrink_above: int | None = Field(
        default=None,
        ge=32,
        le=65_536,
        description="Only photos with a longer side over this are shrunk to `max_side`, in pixels;"
        " null: all photos over `max_side`.",
    )
    pad_multiple: int = Field(
        default=1,
        ge=1,
        le=128,
        description="Width and height are padded to a multiple of this, in pixels. Photos then have"
        " fewer shapes, and more of them share a batch. 1 pads nothing, as the reference does.",
    )
    score_threshold: float = Field(
        default=0.5, ge=0, lt=1, description="Faces with this score or less are dropped."
    )
    nms_iou: float = Field(
        default=0.4,
        gt=0,
        lt=1,
        description="Overlap (IoU) of two boxes above which the lower-scoring one is dropped.",
    )
    candidates: int = Field(
        default=5000, ge=1, le=100_000, description="Highest-scoring boxes that enter suppression."
    )
    max_faces: int = Field(
        default=750, ge=1, le=10_000, description="Most faces detected in one photo."
    )
    min_face_px: float = Field(
        default=0.0, ge=0, description="Faces less wide or high than this are dropped, in pixels."
    )
    second_pass: SecondPass = Field(
        default="both",
        description="Second detection pass, for photos in which the first found no face. pad: the"
        " photo with a border all around, for faces that fill it; enlarge: the photo at"
        " `enlarged_side`, for small faces; both: pad, then enlarge.",
    )
    enlarged_side: int = Field(
        default=1280,
        ge=32,
        le=8192,
        description="Longer side that `enlarge` detects at, in pixels. A photo is enlarged to twice"
        " its size at most. A size that the first pass has covered is skipped.",
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_in_preset(cls, given: Any) -> Any:
        preset = str(given.get("preset")) if isinstance(given, dict) else None
        return {**_PRESETS[preset], **given} if preset in _PRESETS else given

    @model_validator(mode="after")
    def _shrinks_to_less(self) -> "DetectorConfig":
        if self.shrink_above is None:
            return self
        if self.max_side is None or self.shrink_above < self.max_side:
            raise ValueError(
                f"shrink_above: {self.shrink_above} needs a max_side that is not larger, and"
                f" max_side is {self.max_side}"
            )
        return self
