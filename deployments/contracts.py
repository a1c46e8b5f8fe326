"""Data types passed between the stages of the graph.

Pixels are uint8 BGR [H,W,3]. Coordinates are pixels of the image as the user sees it (EXIF
orientation applied), whatever was resized inside. Arrays that arrive from another process are
read-only views of shared memory: copy before writing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pickle import PickleBuffer
from typing import Any, Literal, SupportsIndex, TypeAlias

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
DoubleArray = npt.NDArray[np.float64]
ByteArray = npt.NDArray[np.uint8]

FaceChoice = Literal["largest", "all"]
Reason = Literal["small", "blurred", "low_detail", "turned", "profile"]

EMBEDDING_SIZE = 512  # numbers in most recognizers' embeddings


@dataclass(frozen=True, slots=True)
class Span:
    """The time that one step took for an image, its queueing in the replica included.

    image: the request's field (`image`, `source`, `target`); None for work on several images.
    """

    # decode, detect, align, recognize:<pool>, classify:<pool>, compare, enrol, search or verify
    stage: str
    image: str | None
    started_at: float  # seconds since the epoch, by the clock of the stage's machine
    duration_s: float


@dataclass(frozen=True, slots=True)
class ChipArea:
    """The area of a photo that a chip with margin shows of a face, upright as in the photo.

    size: side of the chip, in pixels. scale: sides of the area, in sides of the face's box.
    square: the area is a square on the box's longer side; else it has the box's proportions, which
    the chip distorts.
    """

    size: int
    scale: float
    square: bool = False


@dataclass(frozen=True, slots=True)
class Photo:
    """An image as the caller sent it.

    field: the request's field that it came in (`image`, `source`, `target`); errors name it.
    content: a whole image file, or pixels uint8 [H,W,3] BGR.
    faces: all of them, only the largest, or the index of one, counted from 0 by falling score.
    time_left_s: seconds left for the answer; None for no limit. Each stage's result carries the
    seconds left when it was made. areas: those that chips with margin are cut of, for classifiers.
    """

    field: str
    content: bytes | ByteArray
    faces: FaceChoice | int = "all"
    time_left_s: float | None = None
    areas: tuple[ChipArea, ...] = ()

    @property
    def nbytes(self) -> int:
        """Bytes of the content, a file's or the pixels'."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.nbytes

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        """Pickle a file as an out-of-band buffer.

        Ray copies the buffer into the object store as it is, in half the time of a file inside the
        pickle.
        """
        if isinstance(self.content, bytes) and int(protocol) >= 5:
            file = PickleBuffer(self.content)
            return _photo_from_file, (self.field, file, self.faces, self.time_left_s, self.areas)
        return object.__reduce_ex__(self, protocol)


def _photo_from_file(
    field: str,
    file: bytes | memoryview,
    faces: FaceChoice | int,
    time_left_s: float | None,
    areas: tuple[ChipArea, ...],
) -> Photo:
    return Photo(field, bytes(file), faces, time_left_s, areas)


@dataclass(frozen=True, slots=True)
class Detections:
    """Faces of one image, by descending score. N may be 0.

    boxes: float32 [N,4], x1 y1 x2 y2 in pixels. scores: float32 [N].
    landmarks: float32 [N,5,2], x y in pixels: left eye, right eye, nose, left and right mouth
    corner, as seen in the image.
    """

    boxes: FloatArray
    scores: FloatArray
    landmarks: FloatArray

    def __len__(self) -> int:
        return len(self.scores)

    def select(self, indices: npt.NDArray[np.intp]) -> "Detections":
        return Detections(self.boxes[indices], self.scores[indices], self.landmarks[indices])

    @staticmethod
    def none() -> "Detections":
        return Detections(
            np.zeros((0, 4), np.float32),
            np.zeros(0, np.float32),
            np.zeros((0, 5, 2), np.float32),
        )


@dataclass(frozen=True, slots=True)
class FoundFaces:
    """The faces of one photo, as answered to the client. Every later result refers to it.

    field: the request's field. width, height: the photo's, in pixels. truncated: its file ends
    before its last rows. sharpness: float32 [N], of the faces' chips; None if not measured. alike:
    faces of about the size of the largest, itself included, if the largest was chosen; else 1.
    searched_down_to_px: side of the smallest face that was searched for, in pixels.
    """

    field: str
    width: int
    height: int
    detections: Detections
    truncated: bool = False
    sharpness: FloatArray | None = None
    alike: int = 1
    searched_down_to_px: float = 0.0

    def __len__(self) -> int:
        return len(self.detections)


@dataclass(frozen=True, slots=True)
class FaceCrop:
    """The part of a photo that one face's chip is cut from: pixels uint8 [h,w,3] BGR.

    left, top: its upper left corner, in pixels of the photo. reduction: one pixel here covers
    `reduction` x `reduction` pixels of the photo.
    """

    pixels: ByteArray
    left: int
    top: int
    reduction: int = 1

    def from_photo(self, points: FloatArray) -> FloatArray:
        """Convert points float32 [...,2], x y, from pixels of the photo to pixels of the crop.

        Whole numbers are pixel centres in both.
        """
        corner = np.asarray([self.left, self.top], np.float32)
        moved: FloatArray = (points - corner + np.float32(0.5)) / self.reduction - np.float32(0.5)
        return moved


@dataclass(frozen=True, slots=True)
class DetectedPhoto:
    """The detector's result for one photo: its faces, and a crop for each if they were asked for.

    The crops replace the photo in later stages, as its faces are a small part of it. margins: for
    each area that the photo asked for, the faces' chips with margin, uint8 [N,size,size,3] BGR.
    """

    faces: FoundFaces
    crops: tuple[FaceCrop, ...]
    spans: tuple[Span, ...]
    time_left_s: float | None = None
    margins: Mapping[ChipArea, ByteArray] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FaceChips:
    """Face chips (aligned crops) of one photo: pixels uint8 [N,112,112,3] BGR.

    Each is a face moved onto the ArcFace template by a similarity transform. further: the chips
    uint8 [N,size,size,3] BGR of pools that take others, by `Chip.key`.
    """

    pixels: ByteArray
    faces: FoundFaces
    spans: tuple[Span, ...]
    time_left_s: float | None = None
    further: Mapping[str, ByteArray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.pixels)

    def of(self, key: str) -> ByteArray:
        """The chips of a `Chip.key`; those of no key in `further` are ArcFace's."""
        return self.further.get(key, self.pixels)


@dataclass(frozen=True, slots=True)
class Embeddings:
    """One recognizer's result for N chips.

    vectors: float32 [N,D], L2 norm 1. uncertainty: float32 [N] (larger is less certain), or
    None if the recognizer gives none. faces: those of the photo that the chips came from, or None.
    version: the recognizer's model and weights, or None if not known. quality: float32 [N], 0 to 1,
    of the vectors and of the faces; None if neither is known.
    """

    vectors: FloatArray
    uncertainty: FloatArray | None
    recognizer: str
    faces: FoundFaces | None = None
    spans: tuple[Span, ...] = ()
    version: str | None = None
    quality: FloatArray | None = None

    def __len__(self) -> int:
        return len(self.vectors)


@dataclass(frozen=True, slots=True)
class Classes:
    """One classifier's result for N faces of a photo: scores float32 [N,L], 0 to 1, by label."""

    classifier: str
    scores: FloatArray
    faces: FoundFaces
    spans: tuple[Span, ...] = ()


@dataclass(frozen=True, slots=True)
class DecisionRule:
    """The limits that turn one recognizer's scores into decisions.

    threshold: lowest cosine of a match. max_uncertainty: the decision is uncertain if a face's
    uncertainty is higher; None for no limit. min_quality: the decision is uncertain if a face's
    quality is lower; None for no limit.
    """

    threshold: float
    max_uncertainty: float | None = None
    min_quality: float | None = None


Rules: TypeAlias = Mapping[str, DecisionRule]  # by recognizer


@dataclass(frozen=True, slots=True)
class PairMeasure:
    """A measure of a source face and of M target faces, float32 [M]."""

    source: float
    target: FloatArray


@dataclass(frozen=True, slots=True)
class Scores:
    """One recognizer's scores of M target faces against one source face.

    cosine: float32 [M] in [-1,1]. rule: its limits. uncertainty, quality: None if the recognizer
    gives none. matched, uncertain: bool [M], never both true.
    """

    cosine: FloatArray
    rule: DecisionRule
    uncertainty: PairMeasure | None
    quality: PairMeasure | None
    matched: npt.NDArray[np.bool_]
    uncertain: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Similarity:
    """The similarity of one source face to M target faces, fused over the recognizers.

    scores: by recognizer. similarity: float32 [M], the fused cosine. threshold: float64 [M], the
    fused threshold. matched, uncertain: bool [M], never both true. order: intp [M], target indices:
    matches first, each group by descending margin over the threshold.
    """

    scores: Mapping[str, Scores]
    similarity: FloatArray
    threshold: DoubleArray
    matched: npt.NDArray[np.bool_]
    uncertain: npt.NDArray[np.bool_]
    order: npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The aggregator's result: the similarity, and the faces of both photos."""

    similarity: Similarity
    source: FoundFaces
    target: FoundFaces
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class StageInfo:
    """A replica's description of itself, given once it has answered its canary.

    stage: detector, aligner, recognizer:<pool>, classifier:<pool> or aggregator. model: catalogue
    id; None without a model. precision, reason (why this runtime, device and precision, in words):
    None for a stage without a model. unavailable: why a pool's replica has no model; else None.
    version: of a recognizer, that of its `Embeddings`.
    """

    stage: str
    model: str | None
    runtime: str | None
    device: str | None
    precision: str | None = None
    reason: str | None = None
    unavailable: str | None = None
    version: str | None = None
