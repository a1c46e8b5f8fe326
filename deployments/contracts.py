"""What travels between the stages of the graph.

Pixels are uint8 BGR [H,W,3]. Coordinates are pixels of the image as the user sees it (EXIF
orientation applied), whatever was resized inside. Arrays that arrive from another process are
read-only views of shared memory: copy before writing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pickle import PickleBuffer
from typing import Any, Literal, SupportsIndex

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
DoubleArray = npt.NDArray[np.float64]
ByteArray = npt.NDArray[np.uint8]

FaceChoice = Literal["largest", "all"]


@dataclass(frozen=True, slots=True)
class Span:
    """When a stage worked on an image. `image` is the request's field, None for work on several."""

    stage: str
    image: str | None
    started_at: float  # seconds since the epoch, by the clock of the stage's machine
    duration_s: float


@dataclass(frozen=True, slots=True)
class Photo:
    """An image as the caller gave it.

    `field` is the request's field that it came in (`image`, `source`, `target`): errors name it.
    `content` is a whole JPEG, PNG, WebP or BMP file, or pixels uint8 [H,W,3] BGR. `faces`: which of
    its faces are wanted. `time_left_s`: seconds in which an answer is of use, None for no limit;
    what stages make of the photo carries what is left of them.
    """

    field: str
    content: bytes | ByteArray
    faces: FaceChoice = "all"
    time_left_s: float | None = None

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        """A file travels as a buffer, which Ray copies into the object store as it is: in half the
        time that it takes as a part of the pickle."""
        if isinstance(self.content, bytes) and int(protocol) >= 5:
            file = PickleBuffer(self.content)
            return _photo_of_file, (self.field, file, self.faces, self.time_left_s)
        return object.__reduce_ex__(self, protocol)


def _photo_of_file(
    field: str, file: bytes | memoryview, faces: FaceChoice, time_left_s: float | None
) -> Photo:
    return Photo(field, bytes(file), faces, time_left_s)


@dataclass(frozen=True, slots=True)
class Detections:
    """Faces of one image, by falling score. N may be 0.

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
    """What the client is told of a photo; travels with whatever is computed from it.

    `field` is the request's; width and height are the photo's, in pixels.
    """

    field: str
    width: int
    height: int
    detections: Detections

    def __len__(self) -> int:
        return len(self.detections)


@dataclass(frozen=True, slots=True)
class FaceCrop:
    """The part of a photo that one face's chip is made from: pixels uint8 [h,w,3] BGR.

    left, top: where it begins, in pixels of the photo. reduction: pixels of the photo, across and
    down, that one pixel here stands for.
    """

    pixels: ByteArray
    left: int
    top: int
    reduction: int = 1

    def from_photo(self, points: FloatArray) -> FloatArray:
        """Points float32 [...,2], x y in pixels of the photo -> in pixels of the crop. Whole
        numbers are the middles of pixels in both."""
        corner = np.asarray([self.left, self.top], np.float32)
        moved: FloatArray = (points - corner + np.float32(0.5)) / self.reduction - np.float32(0.5)
        return moved


@dataclass(frozen=True, slots=True)
class DetectedPhoto:
    """The detector's answer for one photo; a crop for each face, or none where nobody needs them.

    The photo itself goes no further: its faces are a small part of it.
    """

    faces: FoundFaces
    crops: tuple[FaceCrop, ...]
    spans: tuple[Span, ...]
    time_left_s: float | None = None


@dataclass(frozen=True, slots=True)
class FaceChips:
    """Faces of one photo moved onto the ArcFace template: pixels uint8 [N,112,112,3] BGR."""

    pixels: ByteArray
    faces: FoundFaces
    spans: tuple[Span, ...]
    time_left_s: float | None = None

    def __len__(self) -> int:
        return len(self.pixels)


@dataclass(frozen=True, slots=True)
class Embeddings:
    """What one recognizer answers for N chips.

    vectors: float32 [N,512], L2 norm 1. uncertainty: float32 [N] (larger is less certain), or
    None where the recognizer gives none. faces: the photo that the chips came from, if they did.
    """

    vectors: FloatArray
    uncertainty: FloatArray | None
    recognizer: str
    faces: FoundFaces | None = None
    spans: tuple[Span, ...] = ()

    def __len__(self) -> int:
        return len(self.vectors)


@dataclass(frozen=True, slots=True)
class DecisionRule:
    """What one recognizer's answers are held against.

    threshold: cosine from which two faces match. max_uncertainty: over which a face decides
    nothing; None for no such limit.
    """

    threshold: float
    max_uncertainty: float | None = None


@dataclass(frozen=True, slots=True)
class Scores:
    """One recognizer's scores of M target faces against one source face.

    cosine: float32 [M] in [-1,1]. uncertainty of the source's face and, float32 [M], of the
    target's, None where the recognizer gives none. matched, uncertain: bool [M], never both.
    """

    cosine: FloatArray
    threshold: float
    source_uncertainty: float | None
    target_uncertainty: FloatArray | None
    matched: npt.NDArray[np.bool_]
    uncertain: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Similarity:
    """One source face against M target faces.

    scores: by recognizer. similarity: float32 [M], the fused cosine. threshold: float64 [M], what
    it was held against. matched, uncertain: bool [M], never both. order: intp [M], target indices
    by falling margin over the threshold.
    """

    scores: Mapping[str, Scores]
    similarity: FloatArray
    threshold: DoubleArray
    matched: npt.NDArray[np.bool_]
    uncertain: npt.NDArray[np.bool_]
    order: npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The aggregator's answer: the similarity, and the two photos that it is about."""

    similarity: Similarity
    source: FoundFaces
    target: FoundFaces
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class StageInfo:
    """What a replica says of itself once its canary has been answered.

    `unavailable` says why a recognizer's replica has no model to answer with; else None.
    """

    stage: str
    model: str | None
    runtime: str | None
    device: str | None
    unavailable: str | None = None
