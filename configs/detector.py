"""The detector's configuration."""

from typing import Annotated

from pydantic import AfterValidator, Field

from configs.model import ModelConfig
from deployments.models import find_model_id


class DetectorConfig(ModelConfig):
    model: Annotated[str, AfterValidator(find_model_id("detector"))] = Field(
        default="retinaface-mnet025", description="Catalogue id of the detector."
    )
    max_side: int | None = Field(
        default=640,
        ge=32,
        le=8192,
        description="Photos whose longer side is larger are shrunk to it for detection, in pixels;"
        " null detects at the photo's own size. Answers are in the photo's pixels either way.",
    )
    pad_multiple: int = Field(
        default=1,
        ge=1,
        le=128,
        description="Photos are padded to a multiple of this, so that fewer shapes reach the"
        " network and more photos share a batch; 1, as the reference answers, pads nothing.",
    )
    score_threshold: float = Field(
        default=0.5, ge=0, lt=1, description="Faces scoring this or less are dropped."
    )
    nms_iou: float = Field(
        default=0.4, gt=0, lt=1, description="Overlap over which the worse of two boxes goes."
    )
    candidates: int = Field(
        default=5000, ge=1, le=100_000, description="Best boxes that enter suppression."
    )
    max_faces: int = Field(default=750, ge=1, le=10_000, description="Most faces of one photo.")
    min_face_px: float = Field(
        default=10.0, ge=0, description="Faces narrower or lower are dropped, in photo pixels."
    )
