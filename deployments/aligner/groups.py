"""The alignment of a group of requests, for the process that holds their crops."""

from collections.abc import Sequence

from configs.catalogue import Chip
from deployments.contracts import DetectedPhoto, FaceChips
from deployments.errors import FaceGraphError
from deployments.images.alignment import align_crops
from deployments.replica.deadline import Deadline
from deployments.replica.groups import Slot
from deployments.replica.metrics import OnDone
from deployments.replica.workers import Stopwatch


def align_group(
    further_chips: Sequence[Chip],
    group: Sequence[Slot[Sequence[DetectedPhoto]]],
    arrived: float,
    on_done: OnDone,
) -> list[Slot[list[FaceChips]]]:
    """Align the faces of each request's photos, in order; an error stays in its slot.

    DeadlineExceeded is the value of a request whose deadline has passed. further_chips: those that
    pools take beside ArcFace's. arrived: when the group did, by time.monotonic().
    """

    def aligned(slot: Slot[Sequence[DetectedPhoto]]) -> Slot[list[FaceChips]]:
        if isinstance(slot, FaceGraphError):
            return slot
        try:
            return [
                _chips(photo, further_chips, _deadline(photo, arrived), on_done) for photo in slot
            ]
        except FaceGraphError as error:
            return error

    return [aligned(slot) for slot in group]


def _chips(
    photo: DetectedPhoto, further_chips: Sequence[Chip], deadline: Deadline, on_done: OnDone
) -> FaceChips:
    deadline.require()
    watch = Stopwatch("align", photo.faces.field)
    landmarks = photo.faces.detections.landmarks
    chips = align_crops(photo.crops, landmarks)
    further = {chip.key: align_crops(photo.crops, landmarks, chip) for chip in further_chips}
    spans = (*photo.spans, on_done(watch.stop()))
    return FaceChips(chips, photo.faces, spans, deadline.left_s, further)


def _deadline(photo: DetectedPhoto, arrived: float) -> Deadline:
    left_s = photo.time_left_s
    return Deadline() if left_s is None else Deadline(arrived + left_s)
