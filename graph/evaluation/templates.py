"""IJB-C's 1:1 protocol: a template is several photos and video frames of one person.

Frames of one medium (a video) are averaged first, then the media of a template, so that a long
video does not outweigh a photo (Crosswhite et al., Template Adaptation for Face Verification and
Identification, 2016; as IJB-B's and IJB-C's published evaluations do).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from deployments.contracts import DoubleArray, FloatArray

Templates = Mapping[str, Sequence["TemplatePhoto"]]


@dataclass(frozen=True, slots=True)
class TemplatePhoto:
    """A photo or frame of a template. Frames of one video share `medium`."""

    photo: str
    medium: str


def template_vector(
    photos: Sequence[TemplatePhoto], vectors: Mapping[str, FloatArray]
) -> DoubleArray | None:
    """The template's embedding, float64 [D] of length 1; None where no photo of it has one.

    vectors: by photo, float32 [D] of length 1; photos without a face are not in it.
    """
    media: dict[str, list[FloatArray]] = {}
    for item in photos:
        if item.photo in vectors:
            media.setdefault(item.medium, []).append(vectors[item.photo])
    if not media:
        return None
    total = np.sum([np.mean(frames, axis=0, dtype=np.float64) for frames in media.values()], axis=0)
    length = np.linalg.norm(total)
    unit: DoubleArray = total / length if length else total
    return unit


def template_vectors(
    templates: Templates, vectors: Mapping[str, FloatArray]
) -> dict[str, DoubleArray]:
    """Every template that has at least one photo with a face, by its id."""
    found = {name: template_vector(photos, vectors) for name, photos in templates.items()}
    return {name: vector for name, vector in found.items() if vector is not None}
