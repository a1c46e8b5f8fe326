"""Quality policies of enrolment: the faults for which a face is refused."""

from collections.abc import Mapping

from deployments.contracts import Embeddings
from deployments.gallery.contracts import EnrolmentReason, Policy
from deployments.images.quality import faults, image_quality

_STANDARD: frozenset[EnrolmentReason] = frozenset(
    {
        "small",
        "blurred",
        "low_detail",
        "profile",
        "several_faces",
        "another_person",
        "unlike_person",
    }
)
# The faults that each policy refuses. A photo without a face, and a face too many for the person,
# are refused by all.
REFUSED: Mapping[Policy, frozenset[EnrolmentReason]] = {
    "off": frozenset(),
    "standard": _STANDARD,
    "strict": _STANDARD | {"turned"},
}


def photo_faults(photo: Embeddings, policy: Policy) -> list[EnrolmentReason]:
    """The faults of a photo's first face that the policy refuses; empty for a face to enrol.

    They are those that the photo shows by itself: its likeness to stored faces is another matter.
    """
    found = photo.faces
    if found is None:
        return []
    if not len(found):
        return ["face_not_found"]
    reasons: list[EnrolmentReason] = ["several_faces"] if found.alike > 1 else []
    if found.sharpness is not None:
        quality = image_quality(found.sharpness) if photo.quality is None else photo.quality
        reasons += faults(found.detections, found.sharpness, quality)[0]
    return [reason for reason in reasons if reason in REFUSED[policy]]
