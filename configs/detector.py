"""The detector's configuration."""

import math
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from configs.catalogue import CATALOGUE, model_id_validator
from configs.model import CANVAS_STEP, CPU_BATCH, ModelConfig

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
        "drop_below_px": 10.0,
        "coarse_side": None,
        "second_pass": "none",
        "turned_faces": False,
        "max_tiles": 0,
    },
    # One look at a square, as InsightFace's FaceAnalysis takes by default.
    "insightface": {
        "max_side": 640,
        "score_threshold": 0.5,
        "nms_iou": 0.4,
        "coarse_side": None,
        "second_pass": "none",
        "turned_faces": False,
        "max_tiles": 0,
    },
    # One look at the photo, with the limits of OpenCV Zoo's example.
    "opencv": {
        "score_threshold": 0.9,
        "nms_iou": 0.3,
        "candidates": 5000,
        "coarse_side": None,
        "second_pass": "none",
        "turned_faces": False,
        "max_tiles": 0,
    },
}
# Presets of families for which the looks beside the first one are not calibrated.
_FAMILY_PRESETS = {"scrfd": "insightface", "yunet": "opencv"}


# The longer side of the largest canvas, if the photos' is not limited, and of the smallest.
_LARGEST_SIDE, _SMALLEST_SIDE = 1504, 640
# Sides of default canvases, in sides of the next larger one's.
_NEXT_SIDE = 2 / 3

CanvasSide = Annotated[int, Field(ge=CANVAS_STEP, le=8192, multiple_of=CANVAS_STEP)]
Canvas = tuple[CanvasSide, CanvasSide]


class DetectorConfig(ModelConfig):
    model: Annotated[str, AfterValidator(model_id_validator("detector"))] = Field(
        default="retinaface-mnet025", description="Catalogue id of the detector."
    )
    preset: Literal["published", "insightface", "opencv"] | None = Field(
        default=None,
        description="Defaults for the fields below. published: the settings of the published"
        " detector; insightface: those of InsightFace, one look at a square of `max_side`; opencv:"
        " those of OpenCV Zoo's YuNet, one look at the photo. null: insightface for detectors of"
        " the family scrfd, opencv for those of yunet.",
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
    coarse_side: int | None = Field(
        default=160,
        ge=64,
        le=1024,
        description="Longer side, in pixels, that a photo is shrunk to for a coarse look where only"
        " its largest face is wanted. If one face there is surely the largest, only that face is"
        " looked at again, else the whole photo. Photos that detection sees at less than twice this"
        " size, and canvases, have no coarse look. null: none has.",
    )
    pad_multiple: int = Field(
        default=1,
        ge=1,
        le=128,
        description="Width and height are padded to a multiple of this, in pixels. Photos then have"
        " fewer shapes, and more of them share a batch. 1 pads nothing, as the reference does.",
    )
    canvases: tuple[Canvas, ...] | None = Field(
        default=None,
        description="Heights and widths, in pixels, of the canvases that photos are laid on in"
        " torch, each photo on the smallest that holds it: multiples of 32. Photos of any shape"
        " share a batch then, and answers are those of the photo alone. A larger photo runs by"
        " itself."
        " null: on cuda a square, 4:3 and 3:4 for each of a few sides, up to the first pass's"
        " largest; none on the cpu. []: none.",
    )
    max_batch_photos: int = Field(
        default=32,
        ge=1,
        le=1024,
        description="Most photos in one run of the network with canvases, of the smallest canvas;"
        " of larger ones fewer, by their area.",
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
    drop_below_px: float = Field(
        default=0.0, ge=0, description="Faces less wide or high than this are dropped, in pixels."
    )
    turned_faces: bool = Field(
        default=True,
        description="Find faces at any roll: a photo in which a face may be turned is looked at in"
        " four quarter turns, and a tilted face once more upright. false: landmarks of turned faces"
        " are wrong, without a word.",
    )
    min_face_px: float = Field(
        default=24.0,
        ge=4,
        description="Shorter side of the smallest face that is searched for, in pixels of the"
        " photo, where all faces are wanted. Smaller ones are answered where they are found. Larger"
        " photos are searched in tiles of `max_side`.",
    )
    max_tiles: int = Field(
        default=64,
        ge=0,
        le=4096,
        description="Most tiles in one photo. A photo that needs more is searched at a coarser"
        " scale, and the answer's `searched_down_to_px` says so. 0: no tiles.",
    )
    like_size: float = Field(
        default=0.75,
        gt=0,
        le=1,
        description="Faces whose box has at least this side, in sides of the largest face's, make"
        " the choice of the largest face ambiguous.",
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

    def batch_photos_on(self, device: str) -> int:
        """Most photos in one call of the network, unless the deployment's `user_config` says."""
        return self.max_batch_photos if device == "cuda" else CPU_BATCH

    def canvases_on(self, device: str) -> tuple[Canvas, ...]:
        """The canvases in torch on `cpu` or `cuda`."""
        if self.canvases is not None or device != "cuda":
            return self.canvases or ()
        longest = _LARGEST_SIDE
        if self.max_side is not None:
            longest = max(self.max_side, self.shrink_above or 0)
        sides = [longest]
        while sides[-1] > _SMALLEST_SIDE / _NEXT_SIDE:
            sides.append(int(sides[-1] * _NEXT_SIDE))
        pairs = [(_stepped(side * 3 / 4), _stepped(side)) for side in sides]
        return tuple(
            canvas
            for short, long in pairs
            for canvas in ((short, long), (long, short), (long, long))
        )

    @model_validator(mode="after")
    def _canvases_need_torch(self) -> "DetectorConfig":
        if self.canvases and self.runtime != "torch":
            raise ValueError(
                "canvases need runtime: torch; the other runtimes take photos as they are"
            )
        return self

    @model_validator(mode="before")
    @classmethod
    def _fill_in_preset(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        preset = given.get("preset") or _preset_of_family(given)
        if not isinstance(preset, str) or preset not in _PRESETS:
            return given
        return {**_PRESETS[preset], **given, "preset": preset}

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


def _preset_of_family(given: dict[str, Any]) -> str | None:
    """The preset of the model's family."""
    name, own = given.get("model"), given.get("own_models") or {}
    model = own.get(name) or CATALOGUE.get(str(name))
    return _FAMILY_PRESETS.get(str(model.family)) if model else None


def _stepped(side: float) -> int:
    return math.ceil(side / CANVAS_STEP) * CANVAS_STEP
