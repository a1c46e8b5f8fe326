"""Coarse to fine: the largest face from a small look at the photo and a view of the face alone.

Where one face of the small look is surely the largest, a view of it at one size, whatever the
photo's, gives its box and landmarks. In any doubt the whole photo is looked at, as without this.
"""

from collections.abc import Generator
from dataclasses import replace

import numpy as np

from configs.detector import DetectorConfig
from deployments.contracts import Detections, FloatArray
from deployments.detector.candidates import Candidates, box_sizes
from deployments.detector.postprocess import Rows, overlap, shares_of_smaller
from deployments.detector.preprocess import NetworkInput, face_view, smaller_input
from deployments.detector.tiles import SMALLEST_FACE
from deployments.images.alignment import align
from deployments.images.decode import DecodedImage
from deployments.images.quality import are_blurred, sharpness

# A coarse look and a view cost as much as a first pass of twice the coarse look's side.
_WORTHWHILE = 2
# Score of a face that is surely one.
_SURE = 0.8
# Sizes in a small look are off by up to a tenth. A candidate may be as large as a face that makes
# the choice ambiguous from this share of that face's size on.
_RIVAL = 0.8
# A face that is turned by a quarter or a half beside an upright one is hard to see in a small look:
# of 63 such faces of about the largest's size, which a whole look finds, 59 have a box of this
# share of that size with this score.
_WEAK_RIVAL, _WEAK_SCORE = 2 / 3, 0.02
# Share of the smaller box up to which two boxes do not show the same face.
_APART = 0.3
# Least intersection over union of a face's boxes in the coarse look and in its view.
_SAME_BOX = 0.5

# The inputs that the network looks at, the rows of each, and the face.
CoarseLooks = Generator[NetworkInput, Rows, Detections | None]


def is_worthwhile(first_pass_side: int, coarse_side: int) -> bool:
    """True if looking twice costs less than a first pass; longer sides of the inputs, pixels."""
    return first_pass_side >= _WORTHWHILE * coarse_side


def largest_face(
    image: DecodedImage, item: NetworkInput, side: int, config: DetectorConfig
) -> CoarseLooks:
    """The photo's largest face, in pixels of the photo; None if that is in doubt.

    Yields the inputs that the network has to look at, and takes their rows. item: the input of a
    first pass. side: longer side of the coarse look, in pixels.
    """
    whole = replace(smaller_input(item, side), least_px=SMALLEST_FACE / config.like_size)
    rows = yield whole
    face = _only_large(rows.candidates, config)
    if face is None or _has_weak_rival(face, rows.boxes_over(_WEAK_SCORE), config):
        return None
    coarse = whole.to_photo(face.detections)
    view = face_view(image, coarse.boxes[0])
    face = _only_large((yield view).averaged, config)
    if face is None or _is_blurred(face, view):
        return None
    found = view.to_photo(face.detections)
    return found if overlap(found.boxes[0], coarse.boxes[0]) >= _SAME_BOX else None


def _only_large(found: Candidates, config: DetectorConfig) -> Candidates | None:
    """The look's only large face, upright; None if there is none or another candidate near it.

    It is so large that the look would show a face of `like_size` times its size too.
    """
    sizes, scores = found.sizes, found.detections.scores
    if not (scores > _SURE).any():
        return None
    largest = int(np.argmax(np.where(scores > _SURE, sizes, 0)))
    face = found.select(np.asarray([largest]))
    [box] = face.detections.boxes
    small = (box[2:] - box[:2]).min() * config.like_size < SMALLEST_FACE
    rivals = np.delete(sizes, largest) > _RIVAL * config.like_size * sizes[largest]
    if small or rivals.any() or face.turned(config.score_threshold)[0] or face.tilted()[0]:
        return None
    return face


def _has_weak_rival(face: Candidates, boxes: FloatArray, config: DetectorConfig) -> bool:
    """True if one of the boxes, float32 [N,4], may show another face of about the face's size."""
    apart = shares_of_smaller(boxes, face.detections.boxes)[:, 0] < _APART
    large = box_sizes(boxes) > _WEAK_RIVAL * config.like_size * face.sizes[0]
    return bool((apart & large).any())


def _is_blurred(face: Candidates, view: NetworkInput) -> bool:
    """True for a face whose quality depends on its landmarks more than on the photo.

    Qualities are calibrated on whole looks, whose landmarks are less regular on blurred faces.
    """
    chips = align(view.pixels, face.detections.landmarks)
    return bool(are_blurred(sharpness(chips))[0])
