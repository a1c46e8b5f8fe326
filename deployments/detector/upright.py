"""Looks at an input in other turns, so that the network sees each face upright."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from deployments.contracts import ByteArray, FloatArray
from deployments.detector.candidates import SMALLEST_TURNED, Candidates
from deployments.detector.postprocess import merged, supported
from deployments.detector.turns import (
    points_from_view,
    quarter_turned,
    turned_back,
    upright_view,
)
from deployments.images.template import rolls

# Score in a turned view of its surroundings from which a faint candidate may be a turned face. It
# is under the threshold, as a view of the whole input, which decides, scores somewhat otherwise.
_SHOWN = 0.25


class UprightViews:
    """Finds faces in turned views of an input, by a network that is trained on upright ones."""

    def __init__(
        self, candidates_in: Callable[[ByteArray], Candidates], score_threshold: float
    ) -> None:
        """candidates_in: the candidates of an image uint8 [h,w,3], in pixels of it."""
        self._candidates_in = candidates_in
        self._score_threshold = score_threshold

    def best_of_turns(self, pixels: ByteArray) -> Candidates:
        """Faces of an input uint8 [H,W,3] in four quarter turns, the most upright view of each.

        Three of the views are upside down or sideways for most faces, where the network sees faces
        that are none. A face of these views counts only if another view shows it too.
        """
        views = self._quarter_turns(pixels)
        upright, *others = views
        others = [supported(view, _without(views, view)) for view in others]
        large = [view.select(np.flatnonzero(view.sizes >= SMALLEST_TURNED)) for view in others]
        parts = [view.over(self._score_threshold) for view in (upright, *large)]
        return merged(parts, score_threshold=self._score_threshold)

    def _quarter_turns(self, pixels: ByteArray) -> list[Candidates]:
        """Candidates of the input and of its three quarter turns, in pixels of the input.

        One turn at a time, as the network takes some hundred bytes for each pixel of a batch.
        """
        height, width = pixels.shape[:2]
        views = []
        for turns in range(4):
            found = self._candidates_in(quarter_turned(pixels, turns))
            views.append(turned_back(found, turns, height=height, width=width))
        return views

    def shows_one(self, faint: Candidates, pixels: ByteArray) -> bool:
        """True if one of the candidates may be a face in another turn.

        faint: candidates of the input, pixels uint8 [H,W,3]. Three views of a candidate's
        surroundings take a fraction of the time of three views of the whole input.
        """
        faces = (faint.select(np.asarray([index])) for index in range(len(faint)))
        return any(
            len(self._view(face, pixels, turn, _SHOWN)[0]) > 0
            for face in faces
            for turn in (90.0, 180.0, 270.0)
        )

    def straightened(self, found: Candidates, pixels: ByteArray) -> Candidates:
        """The faces, tilted ones with the landmarks that the network finds once they are upright.

        found: faces of the input, pixels uint8 [H,W,3]. A face that is turned by more than 45
        degrees goes if an upright view does not surely show it.
        """
        faces = [found.select(np.asarray([index])) for index in range(len(found))]
        return Candidates.joined(self._straightened(face, pixels) for face in faces)

    def _straightened(self, face: Candidates, pixels: ByteArray) -> Candidates:
        """`straightened` for one face; none if it goes."""
        turned = abs(float(rolls(face.detections.landmarks)[0])) > 45
        tilted = bool(face.tilted()[0])
        if not turned and not tilted:
            return face
        view = self._upright_face(face, pixels)
        if turned and not (len(view) and view.uprightness[0] > 0):
            return Candidates.none()
        if not tilted or not len(view):
            return face
        landmarks = view.detections.landmarks
        return replace(face, detections=replace(face.detections, landmarks=landmarks))

    def _upright_face(self, face: Candidates, pixels: ByteArray) -> Candidates:
        """One face as an upright view shows it, landmarks in pixels of the input; or none.

        Its box is that in the view.
        """
        [roll] = rolls(face.detections.landmarks)
        seen, transform = self._view(face, pixels, float(roll), self._score_threshold)
        landmarks = points_from_view(seen.detections.landmarks, transform)
        return replace(seen, detections=replace(seen.detections, landmarks=landmarks))

    def _view(
        self, face: Candidates, pixels: ByteArray, roll: float, score: float
    ) -> tuple[Candidates, FloatArray]:
        """One face as a view shows it that turns it anticlockwise by `roll` degrees, or none.

        The face's score is over `score`, and its pixels are those of the view; float32 [2,3] is the
        transform from the input to the view.
        """
        [box], size = face.detections.boxes, float(face.sizes[0])
        centre = (box[:2] + box[2:]) / 2
        view, transform = upright_view(pixels, centre=centre, size=size, roll=roll)
        seen = self._candidates_in(view).over(score)
        boxes = seen.detections.boxes
        middles = (boxes[:, :2] + boxes[:, 2:]) / 2 - len(view) / 2
        near = np.linalg.norm(middles, axis=1) < size / 2
        return seen.select(np.flatnonzero(near)[:1]), transform


def _without(views: Sequence[Candidates], view: Candidates) -> list[Candidates]:
    return [other for other in views if other is not view]
