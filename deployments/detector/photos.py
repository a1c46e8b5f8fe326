"""Photos to faces and crops in a replica's threads, without Ray.

A photo goes from thread to thread, and wakes the event loop only as the last of its call: a worker
decodes it, a batch of the network takes each of its looks, and a worker then chooses its faces,
looks further where that may show others, and cuts the crops.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from configs.catalogue import ARCFACE_CHIP, Chip
from configs.limits import ImageLimits
from deployments.contracts import (
    DetectedPhoto,
    Detections,
    FaceChoice,
    FaceCrop,
    FloatArray,
    FoundFaces,
    Photo,
    Span,
)
from deployments.detector.crops import cut_crops, max_reduction
from deployments.detector.detector import (
    DetectionRequest,
    Detector,
    FirstLooks,
    FirstPass,
    proceed,
)
from deployments.detector.postprocess import Rows, choose, count_alike
from deployments.detector.preprocess import NetworkInput
from deployments.errors import FaceGraphError, FaceNotFound
from deployments.images.alignment import align_crops
from deployments.images.decode import DecodedImage, OpenedPhoto, open_photo, read_image
from deployments.images.margins import cut_margin_chips, margin_reduction
from deployments.images.quality import sharpness
from deployments.replica.budget import Budget
from deployments.replica.deadline import Deadline
from deployments.replica.feeder import OnBatchStart, Queued
from deployments.replica.gathering import Gathering, NotWanted, Place
from deployments.replica.workers import Stopwatch, Workers


@dataclass(frozen=True, slots=True)
class _Search:
    """A photo on its way through the replica."""

    photo: Photo
    crops: bool
    place: Place[DetectedPhoto]
    deadline: Deadline
    decoding: Stopwatch

    @property
    def wanted(self) -> FaceChoice:
        return "largest" if self.photo.faces == "largest" else "all"

    def require(self) -> None:
        """Raises DeadlineExceeded or NotWanted."""
        self.deadline.require()
        if not self.place.is_wanted:
            raise NotWanted


@dataclass(frozen=True, slots=True)
class _Decoded:
    """A decoded photo, its first pass in progress, and the next input that the network looks at."""

    search: _Search
    request: DetectionRequest
    looks: FirstLooks
    input: NetworkInput
    decoded: Span
    detecting: Stopwatch


class PhotoSearch:
    """Detects the faces of many calls' photos, and cuts their crops.

    further_chips: those that will be cut of the crops beside ArcFace's.
    """

    def __init__(
        self,
        detector: Detector,
        workers: Workers,
        limits: ImageLimits,
        *,
        max_batch_size: int,
        on_batch_start: OnBatchStart,
        further_chips: Sequence[Chip] = (),
    ) -> None:
        self._chips = (ARCFACE_CHIP, *further_chips)
        self._detector = detector
        self._workers = workers
        self._limits = limits
        self._pixels = Budget(limits.max_pixels_in_flight)
        self.feeder = workers.feeder(
            self._look, max_batch_size=max_batch_size, on_batch_start=on_batch_start
        )

    async def search(
        self,
        requests: Sequence[Sequence[Photo]],
        deadlines: Sequence[Deadline],
        *,
        crops: bool,
    ) -> list[list[DetectedPhoto] | FaceGraphError]:
        """Each request's photos, in order, or its error; deadlines: one for each request.

        crops: cut the faces' crops, for the stages after this one.
        """
        gathering = Gathering[DetectedPhoto](requests)
        for number, (photos, deadline) in enumerate(zip(requests, deadlines, strict=True)):
            for index, photo in enumerate(photos):
                place = gathering.place(number, index)
                watch = Stopwatch("decode", photo.field)
                search = _Search(photo, crops, place, deadline, watch)
                self._workers.submit(_guarded(search, partial(self._open, search)))
        return await gathering.outcomes()

    def _open(self, search: _Search) -> None:
        search.require()
        opened = open_photo(search.photo, self._limits)
        this_thread = True

        def granted() -> bool:
            step = _guarded(search, partial(self._decode, search, opened), self._releases(opened))
            if this_thread:
                step()
            else:  # the thread of another photo
                self._workers.submit(step)
            return True

        self._pixels.take(self._room(opened), granted)
        this_thread = False

    def _releases(self, opened: OpenedPhoto) -> Callable[[], None]:
        return partial(self._pixels.release, self._room(opened))

    def _room(self, opened: OpenedPhoto) -> int:
        """The pixels of a photo, and those of its input for the network if that is smaller."""
        longer = max(opened.width, opened.height)
        scale = self._detector.first_pass_side(longer) / longer
        return opened.pixels + (round(opened.pixels * scale**2) if scale < 1 else 0)

    def _decode(self, search: _Search, opened: OpenedPhoto) -> None:
        search.require()
        side = self._detector.decoded_side(opened.width, opened.height, search.wanted)
        request = DetectionRequest(opened.decoded(lambda longer: side), search.wanted)
        looks = self._detector.first_looks(request)
        decoded = _Decoded(
            search,
            request,
            looks,
            next(looks),
            search.decoding.stop(),
            Stopwatch("detect", search.photo.field),
        )
        self._submit(decoded, self._releases(opened))

    def _submit(self, decoded: _Decoded, release: Callable[[], None]) -> None:
        """Queue a photo's next look."""
        search = decoded.search

        def done(rows: Rows | Exception) -> None:
            if isinstance(rows, Exception):
                release()
                search.place.settle(rows)
                return
            proceed = partial(self._proceed, decoded, rows, release)
            self._workers.submit(_guarded(search, proceed, release))

        place = search.place
        self.feeder.submit([Queued(decoded, search.deadline, done, lambda: place.is_wanted)])

    def _look(self, batch: Sequence[_Decoded]) -> list[Rows]:
        return self._detector.look(
            [one.input for one in batch], [one.request.faces for one in batch]
        )

    def _proceed(self, decoded: _Decoded, rows: Rows, release: Callable[[], None]) -> None:
        decoded.search.require()
        step = proceed(decoded.looks, rows)
        if isinstance(step, FirstPass):
            self._finish(decoded, step, release)
        else:
            self._submit(replace(decoded, input=step), release)

    def _finish(self, decoded: _Decoded, first: FirstPass, release: Callable[[], None]) -> None:
        search, request = decoded.search, decoded.request
        found = first.faces if first.final else self._further(search.photo, request, first)
        answer = self._answer(decoded, found, first.side)
        release()
        search.place.settle(answer)

    def _answer(self, decoded: _Decoded, found: Detections, side: int) -> DetectedPhoto:
        search, image = decoded.search, decoded.request.image
        photo = search.photo
        largest = decoded.request.faces == "largest"
        alike = count_alike(found, self._detector.config.like_size) if largest else 1
        chosen = _chosen(found, photo)
        image.require_shown(chosen.boxes, field=photo.field)
        image = self._fine_enough(photo, image, chosen)
        crops, measured = _measured_crops(image, chosen, self._chips)
        faces = FoundFaces(
            photo.field,
            image.width,
            image.height,
            chosen,
            image.missing is not None,
            alike=alike,
            searched_down_to_px=self._detector.searched_down_to_px(decoded.request, side),
            sharpness=measured,
        )
        margins = {area: cut_margin_chips(image, chosen.boxes, area) for area in photo.areas}
        return DetectedPhoto(
            faces,
            crops if search.crops else (),
            (decoded.decoded, decoded.detecting.stop()),
            search.deadline.left_s,
            margins,
        )

    def _further(self, photo: Photo, request: DetectionRequest, first: FirstPass) -> Detections:
        side = self._detector.further_side(request.image)
        request = replace(request, image=self._finer(photo, request.image, side))
        return self._detector.detect_further(
            request, first, max_batch_size=self.feeder.max_batch_size
        )

    def _fine_enough(self, photo: Photo, image: DecodedImage, faces: Detections) -> DecodedImage:
        """The image, with so many pixels that no chip has to be enlarged where the photo has
        them."""
        if image.reduction == 1 or not len(faces):
            return image
        reductions = [margin_reduction(faces.boxes, area) for area in photo.areas]
        reduction = min([max_reduction(faces.landmarks, self._chips), *reductions])
        return self._finer(photo, image, image.longer_side // reduction)

    def _finer(self, photo: Photo, image: DecodedImage, side: int) -> DecodedImage:
        """The image if its longer side has at least `side` pixels, else the photo with as many."""
        if image.reduction == 1 or max(image.pixels.shape) >= side:
            return image
        return read_image(photo, self._limits, needed_side=lambda longer: side)


def _measured_crops(
    image: DecodedImage, faces: Detections, chips: Sequence[Chip]
) -> tuple[tuple[FaceCrop, ...], FloatArray]:
    """The faces' crops, and the sharpness float32 [N] of their chips."""
    if not len(faces):
        return (), np.zeros(0, np.float32)
    crops = cut_crops(image, faces.landmarks, chips)
    return crops, sharpness(align_crops(crops, faces.landmarks))


def _guarded(
    search: _Search, step: Callable[[], None], *cleanups: Callable[[], None]
) -> Callable[[], None]:
    """The step; its error is the photo's outcome, after the cleanups."""

    def guarded() -> None:
        try:
            step()
        except Exception as error:
            for cleanup in cleanups:
                cleanup()
            search.place.settle(error)

    return guarded


def _chosen(detections: Detections, photo: Photo) -> Detections:
    """The faces that the request asks for. Raises FaceNotFound for an index that is too high."""
    try:
        return choose(detections, photo.faces)
    except IndexError:
        found = f"{len(detections)} found, numbered from 0 by falling score"
        raise FaceNotFound(
            f"{photo.field}: no face {photo.faces} ({found})", field=photo.field
        ) from None
