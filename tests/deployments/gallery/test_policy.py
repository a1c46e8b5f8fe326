"""The faults that each quality policy refuses."""

import numpy as np
import pytest

from deployments.contracts import Detections, Embeddings, FoundFaces
from deployments.gallery.contracts import Policy
from deployments.gallery.policy import REFUSED, photo_faults

# An upright face from the front: eyes at (30, 40) and (70, 40), the nose's tip 20 px below.
FRONT = ((30, 40), (70, 40), (50, 60), (35, 80), (65, 80))
# The nose 12 px and 22 px beside the middle, in units of half the eyes' distance 0.6 and 1.1.
TURNED = (*FRONT[:2], (62, 60), *FRONT[3:])
PROFILE = (*FRONT[:2], (72, 60), *FRONT[3:])


def photo(
    *,
    points: tuple[tuple[int, int], ...] = FRONT,
    side: float = 100.0,
    sharpness: float = 1.0,
    quality: float = 0.9,
    alike: int = 1,
) -> Embeddings:
    detections = Detections(
        np.asarray([[0, 0, side, side]], np.float32),
        np.ones(1, np.float32),
        np.asarray([points], np.float32),
    )
    sharp = np.asarray([sharpness], np.float32)
    found = FoundFaces("image", 640, 480, detections, sharpness=sharp, alike=alike)
    measured = np.asarray([quality], np.float32)
    return Embeddings(np.ones((1, 512), np.float32), None, "arcface", found, quality=measured)


@pytest.mark.parametrize(
    ("shown", "standard", "strict"),
    [
        (photo(), [], []),
        (photo(side=31), ["small"], ["small"]),
        (photo(side=32), [], []),
        # Sharpness 0.5: logit 1.672 + 2.383 ln 0.5 = 0.02, a quality of 0.505, under 0.55.
        (photo(sharpness=0.5), ["blurred"], ["blurred"]),
        (photo(quality=0.5), ["low_detail"], ["low_detail"]),
        (photo(points=TURNED), [], ["turned"]),
        (photo(points=PROFILE), ["profile"], ["profile"]),
        (photo(alike=2), ["several_faces"], ["several_faces"]),
        (photo(alike=3, side=20), ["several_faces", "small"], ["several_faces", "small"]),
    ],
)
def test_a_policy_refuses_its_faults(
    shown: Embeddings, standard: list[str], strict: list[str]
) -> None:
    policies: dict[Policy, list[str]] = {"off": [], "standard": standard, "strict": strict}
    for policy, refused in policies.items():
        assert photo_faults(shown, policy) == refused


def test_a_photo_without_a_face_is_refused_by_every_policy() -> None:
    nobody = FoundFaces("image", 640, 480, Detections.none(), sharpness=np.zeros(0, np.float32))
    empty = Embeddings(np.zeros((0, 512), np.float32), None, "arcface", nobody)
    for policy in REFUSED:
        assert photo_faults(empty, policy) == ["face_not_found"]
