"""Face detection on one machine, without Ray."""

import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path

import numpy as np
import numpy.typing as npt

from configs.catalogue import Model
from configs.detector import DetectorConfig
from configs.model import Runtime
from deployments.contracts import ByteArray, Detections, FaceChoice
from deployments.detector.candidates import Candidates
from deployments.detector.coarse import is_worthwhile, largest_face
from deployments.detector.families import Family, load_family
from deployments.detector.postprocess import Rows, drop_small, merged
from deployments.detector.preprocess import (
    NetworkInput,
    first_pass_side,
    framed_input,
    resized_input,
)
from deployments.detector.tiles import SMALLEST_FACE, Level, tile_levels, whole_faces
from deployments.detector.upright import UprightViews
from deployments.errors import InvalidConfig
from deployments.images.decode import DecodedImage
from deployments.images.pixels import require_bgr
from deployments.inference.backend import Backend, CanvasBackend
from deployments.inference.load import load_backend

# A doubtful face matters for the largest one from this size on, in sizes of the largest face that
# is surely upright, as the box of a turned face may be too small. One that scores under the
# threshold is seldom a face, and matters if it is larger.
_COMPARABLE_SIZE = 0.7
# A photo is decoded with at least this many sides of the first pass, if it has them. Chips of faces
# from a twentieth of its side on then lose no detail. For smaller ones it is decoded again.
_DECODED_SIDES = 3
# Faint candidates beside faces of which each is looked at alone, before the whole input is turned.
_MOST_LOOKED_AT_ALONE = 4
# Shortest side of a tile, in pixels.
_SMALLEST_TILE = 320


@dataclass(frozen=True, slots=True)
class DetectionRequest:
    """An image to detect faces in; `faces`: all of them, or only the largest."""

    image: DecodedImage
    faces: FaceChoice


@dataclass(frozen=True, slots=True)
class Look:
    """One input of the network, and the candidates found there, in pixels of the input."""

    item: NetworkInput
    candidates: Candidates


@dataclass(frozen=True, slots=True)
class FirstPass:
    """The first pass's result: faces in pixels of the photo.

    side: longer side of the input that shows the whole photo, in pixels. further: its look, from
    which further passes go on; None if they could not find other faces that the request asks for.
    """

    faces: Detections
    side: int
    further: Look | None = None

    @property
    def final(self) -> bool:
        return self.further is None


# The inputs of a first pass, the rows of each, and its result.
FirstLooks = Generator[NetworkInput, Rows, FirstPass]


class Detector:
    """A detection network behind an inference backend. Safe to call from several threads."""

    def __init__(
        self,
        config: DetectorConfig,
        *,
        model: Model,
        backend: Backend,
        family: Family | None = None,
    ) -> None:
        """family: of the network; None for the one of the model's name."""
        self.config = config
        self.model = model
        self.backend = backend
        self._family = family or load_family(model, config)
        self._upright = UprightViews(self._candidates_in, config.score_threshold)

    def require_landmarks(self) -> None:
        """Raises InvalidConfig for a network that finds boxes only."""
        if not self._family.landmarks:
            raise InvalidConfig(
                f"{self.model.id} finds no landmarks, which recognition needs; take a detector with"
                " key points"
            )

    def detect(self, image: ByteArray) -> Detections:
        """Every face of an image uint8 [H,W,3] BGR, in pixels of that image, best first.

        Raises InvalidImage for an array of another shape or dtype.
        """
        return self.detect_many([image])[0]

    def detect_many(self, images: Sequence[ByteArray]) -> list[Detections]:
        """`detect` for each image, in order.

        Runs `detect_first_pass` on all of them, then `detect_further` on each.
        """
        requests = [
            DetectionRequest(DecodedImage.whole(require_bgr(image)), "all") for image in images
        ]
        firsts = self.detect_first_pass(requests)
        return [self.detect_further(*pair) for pair in zip(requests, firsts, strict=True)]

    def detect_first_pass(self, requests: Sequence[DetectionRequest]) -> list[FirstPass]:
        """One FirstPass per request, in order.

        Runs `first_looks` of all requests together. If only the largest face is wanted, smaller
        ones may be missing from the result.
        """
        looks = [self.first_looks(request) for request in requests]
        inputs = {index: next(one) for index, one in enumerate(looks)}
        results: dict[int, FirstPass] = {}
        while inputs:
            wanted = [requests[index].faces for index in inputs]
            found = self.look(list(inputs.values()), wanted)
            steps = {
                index: proceed(looks[index], rows)
                for index, rows in zip(inputs, found, strict=True)
            }
            results |= {at: step for at, step in steps.items() if isinstance(step, FirstPass)}
            inputs = {at: step for at, step in steps.items() if isinstance(step, NetworkInput)}
        return [results[index] for index in range(len(requests))]

    def first_looks(self, request: DetectionRequest) -> FirstLooks:
        """The first pass's result; yields the inputs to `look` at, and takes the rows of each.

        A look at the whole photo, if a coarse one does not surely show its largest face.
        """
        side, item = self.config.coarse_side, self.first_input(request.image)
        if side is not None and self._may_look_coarsely(request, side):
            face = yield from largest_face(request.image, item, side, self.config)
            if face is not None:
                return FirstPass(drop_small(face, self.config.drop_below_px), side)
        rows = yield item
        return self._first_pass(request, item, rows)

    def _may_look_coarsely(self, request: DetectionRequest, side: int) -> bool:
        if request.faces != "largest" or isinstance(self.backend, CanvasBackend):
            return False
        return is_worthwhile(self.first_pass_side(request.image.longer_side), side)

    def first_input(self, image: DecodedImage) -> NetworkInput:
        """The photo as the network sees it in the first pass."""
        return self._family.first_input(image, self.first_pass_side(image.longer_side))

    def look(self, inputs: Sequence[NetworkInput], faces: Sequence[FaceChoice]) -> list[Rows]:
        """The network's best rows of each input, in order; faces: those wanted of each.

        On canvases all inputs share a batch, else those of one shape and one choice of faces.
        """
        pixels = [item.pixels for item in inputs]
        if isinstance(self.backend, CanvasBackend):
            return [Rows.from_canvas(rows, self.config) for rows in self.backend.rows(pixels)]
        found: dict[int, Rows] = {}

        def kind(index: int) -> tuple[tuple[int, ...], FaceChoice, float]:
            return pixels[index].shape, faces[index], inputs[index].least_px

        for (_, wanted, least_px), group in groupby(sorted(range(len(inputs)), key=kind), key=kind):
            indices = list(group)
            batch = np.stack([pixels[index] for index in indices])
            found |= zip(
                indices, self._family.rows(self.backend, batch, wanted, least_px), strict=True
            )
        return [found[index] for index in range(len(inputs))]

    def _first_pass(self, request: DetectionRequest, item: NetworkInput, rows: Rows) -> FirstPass:
        look = Look(item, rows.candidates)
        found = look.candidates.over(self.config.score_threshold)
        faces = item.to_photo(found.detections)
        final = len(found) > 0 and not self._may_be_turned(look.candidates, request.faces)
        if final and request.faces == "all":
            final = not self._levels(request.image.width, request.image.height)
        faces = drop_small(faces, self.config.drop_below_px)
        side = self.first_pass_side(request.image.longer_side)
        return FirstPass(faces, side, None if final else look)

    def detect_further(
        self, request: DetectionRequest, first: FirstPass, *, max_batch_size: int = 1
    ) -> Detections:
        """Faces of the first pass if it is final, else those of all passes, best first.

        They are in pixels of the photo. A photo in which a face may be turned is looked at in four
        quarter turns. Where all faces are wanted, a large photo is searched in tiles,
        `max_batch_size` at a time. If no face is found, the configured `second_pass` follows, and
        then the tiles, whichever faces are wanted.
        request.image needs a longer side of `further_side`.
        """
        if first.further is None:
            return first.faces
        tiles = partial(self._in_tiles, request.image, max_batch_size)
        found = self._faces(first.further, request.faces, may_hide=True)
        if request.faces == "all":
            found = self._merged([found, *tiles()])
        for item in self._second_inputs(request.image):
            if len(found):
                break
            found = self._faces(self._look(item), "all", may_hide=False)
        if not len(found) and request.faces == "largest":
            found = self._merged(tiles())
        faces = drop_small(found.detections, self.config.drop_below_px)
        return faces.select(np.arange(min(len(faces), self.config.max_faces)))

    def first_pass_side(self, longer: int) -> int:
        """Longer side of the first pass's input, for a photo whose longer side is `longer`."""
        config = self.config
        return first_pass_side(longer, max_side=config.max_side, shrink_above=config.shrink_above)

    def decoded_side(self, width: int, height: int, faces: FaceChoice) -> int:
        """Smallest longer side at which a photo of `width` x `height` pixels is to be decoded.

        Where all faces are wanted, it has all the pixels that the tiles show.
        """
        longer = max(width, height)
        sides = [_DECODED_SIDES * self.first_pass_side(longer)]
        if faces == "all":
            sides += [math.ceil(level.scale * longer) for level in self._levels(width, height)]
        return min(longer, max(sides))

    def further_side(self, image: DecodedImage) -> int:
        """Longer side from which a photo has all the pixels that `detect_further` may use."""
        longer = image.longer_side
        finest = [level.scale for level in self._levels(image.width, image.height)][-1:]
        sides = [self.config.enlarged_side, self.first_pass_side(longer)]
        return min(longer, max(*sides, *(math.ceil(scale * longer) for scale in finest)))

    def searched_down_to_px(self, request: DetectionRequest, side: int | None = None) -> float:
        """Shorter side of the smallest face that is searched for, in pixels of the photo.

        side: the first pass's `FirstPass.side`; None for that of a whole look.
        """
        image = request.image
        scale = (side or self.first_pass_side(image.longer_side)) / image.longer_side
        if request.faces == "all":
            levels = self._levels(image.width, image.height)
            scale = max([scale, *(level.scale for level in levels)])
        return SMALLEST_FACE / scale

    def _may_be_turned(self, candidates: Candidates, faces: FaceChoice) -> bool:
        """True if a further look may move a wanted face, or find one in its place."""
        return self.config.turned_faces and bool(self._doubtful(candidates, faces).any())

    def _doubtful(self, candidates: Candidates, faces: FaceChoice) -> npt.NDArray[np.bool_]:
        """True for each candidate, bool [N], that a further look may move or find to be a face."""
        threshold, sizes = self.config.score_threshold, candidates.sizes
        found = candidates.detections.scores > threshold
        doubtful = candidates.turned(threshold) | candidates.tilted() & found
        if faces == "largest":
            settled = sizes[found & ~doubtful].max(initial=0)
            doubtful &= sizes > settled * np.where(found, _COMPARABLE_SIZE, 1.0)
        return doubtful

    def _faces(self, look: Look, faces: FaceChoice, *, may_hide: bool) -> Candidates:
        """The faces of one look in pixels of the photo, with the landmarks of upright faces.

        may_hide: look for turned faces also where there is no candidate.
        """
        found, threshold = look.candidates, self.config.score_threshold
        if self.config.turned_faces and self._may_show_turned(look, faces, may_hide=may_hide):
            found = self._upright.best_of_turns(look.item.pixels)
        found = found.over(threshold)
        if self.config.turned_faces:
            found = self._upright.straightened(found, look.item.pixels)
        return replace(found, detections=look.item.to_photo(found.detections))

    def _may_show_turned(self, look: Look, faces: FaceChoice, *, may_hide: bool) -> bool:
        """True if the look has to be turned; may_hide: also where there is no candidate."""
        found, threshold = look.candidates, self.config.score_threshold
        if not len(found):
            return may_hide
        turned = found.turned(threshold) & self._doubtful(found, faces)
        if not turned.any():
            return False
        faint = found.detections.scores <= threshold
        if faint.all() or (turned & ~faint).any() or turned.sum() > _MOST_LOOKED_AT_ALONE:
            return True
        return self._upright.shows_one(found.select(np.flatnonzero(turned)), look.item.pixels)

    def _in_tiles(self, image: DecodedImage, max_batch_size: int) -> list[Candidates]:
        looks = self._tile_looks(image, max_batch_size)
        return [self._faces(look, "all", may_hide=False) for look in looks]

    def _merged(self, parts: Sequence[Candidates]) -> Candidates:
        return merged(parts, score_threshold=self.config.score_threshold)

    def _levels(self, width: int, height: int) -> list[Level]:
        """The levels of a photo of `width` x `height` pixels."""
        longer = max(width, height)
        return tile_levels(
            width,
            height,
            first_scale=self.first_pass_side(longer) / longer,
            min_face_px=self.config.min_face_px,
            tile_side=max(_SMALLEST_TILE, self.config.max_side or 0),
            max_tiles=self.config.max_tiles,
        )

    def _tile_looks(self, image: DecodedImage, max_batch_size: int) -> Iterator[Look]:
        for level in self._levels(image.width, image.height):
            longer = max(level.width, level.height)
            whole = resized_input(image, side=longer, pad_multiple=1)
            for start in range(0, len(level.tiles), max_batch_size):
                tiles = [whole.part(*tile) for tile in level.tiles[start : start + max_batch_size]]
                found = self.look(tiles, ["all"] * len(tiles))
                for tile, rows in zip(tiles, found, strict=True):
                    yield Look(tile, whole_faces(rows.candidates, tile, level))

    def _second_inputs(self, image: DecodedImage) -> Iterator[NetworkInput]:
        config = self.config
        if config.second_pass in ("pad", "both"):
            yield framed_input(image, pad_multiple=config.pad_multiple)
        side = min(config.enlarged_side, 2 * image.longer_side)
        # A size that the first pass has covered shows nothing new.
        larger = side > self.first_pass_side(image.longer_side)
        if config.second_pass in ("enlarge", "both") and larger:
            yield resized_input(image, side=side, pad_multiple=config.pad_multiple)

    def _look(self, item: NetworkInput) -> Look:
        [rows] = self.look([item], ["all"])
        return Look(item, rows.candidates)

    def _candidates_in(self, pixels: ByteArray) -> Candidates:
        """Candidates of an image uint8 [h,w,3], in pixels of it."""
        return self._look(NetworkInput(pixels, 1.0, 1.0)).candidates


def proceed(looks: FirstLooks, rows: Rows) -> NetworkInput | FirstPass:
    """The next input of a first pass, or its result, from the rows of its latest input."""
    try:
        return looks.send(rows)
    except StopIteration as last:
        result: FirstPass = last.value
        return result


def load_detector(
    model: str = "retinaface-mnet025",
    *,
    weights: Path | str | None = None,
    runtime: Runtime = "auto",
    max_side: int | None = None,
) -> Detector:
    """Load a detector of the catalogue; `detector_from(DetectorConfig(...))` takes all settings.

    weights: folder with the published files; by default, the catalogue's sources are searched.
    max_side: longer side, in pixels, that larger images are shrunk to; None keeps their size.
    Raises ModelUnavailable if the weights are missing, InvalidWeights if they do not fit.
    """
    return detector_from(
        DetectorConfig(
            model=model,
            weights=Path(weights) if weights else None,
            runtime=runtime,
            max_side=max_side,
        )
    )


def detector_from(config: DetectorConfig) -> Detector:
    model = config.entry
    family = load_family(model, config)
    backend = load_backend(model, config, network=family.network)
    return Detector(config, model=model, backend=backend, family=family)
