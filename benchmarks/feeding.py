"""A detector replica around a network that takes no time: python -m benchmarks.feeding

The rate at which one process feeds a network, and the CPU time that each photo costs it beside the
network: JPEG decoding, resizing, batches, suppression, crops and metrics. The replica's own class
runs without Ray; groups of requests come as the ingress sends them, several at a time. The network
answers at once, with the same dozen faces in every photo. `decoding alone` is the CPU time of
reading the same files in a loop.

On `cpu` the workers call the network and choose its best rows; on `device` two feeders call it, and
the rows come down chosen. The photos are the two groups of the other benchmarks, one from each, at
640 pixels, and at 96, where next to nothing is decoded.
"""

import argparse
import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any
from unittest.mock import patch

import numpy as np

from benchmarks.harness.load import MS, resized_photo
from benchmarks.harness.results import draw_bars, report
from configs.detector import DetectorConfig
from configs.limits import ImageLimits
from deployments.contracts import ByteArray, FloatArray, Photo
from deployments.detector import deployment as stage
from deployments.detector.anchors import anchors_for, decode_boxes, decode_landmarks
from deployments.detector.detector import Detector
from deployments.images.decode import read_image
from deployments.inference.backend import Choice

FACES = 12
FACE_SIDE = 64  # an anchor's side, in pixels
COLUMNS = (
    "photos",
    "network on",
    "requests a group",
    "photos/s",
    "CPU ms a photo",
    "of it decoding alone",
)
CHOICE = Choice("torch", "cpu", "float32", "a stand-in that computes nothing")


@dataclass(frozen=True, slots=True)
class InstantNetwork:
    """A backend that answers without computing: faces on some anchors of FACE_SIDE."""

    choice: Choice

    def run(self, pixels: ByteArray) -> tuple[FloatArray, ...]:
        count, height, width, _ = pixels.shape
        return tuple(np.broadcast_to(one, (count, *one.shape)) for one in answer_for(height, width))


class InstantDevice(InstantNetwork):
    """A backend whose rows come down chosen and decoded, as from a GPU."""

    def rows(self, images: Sequence[ByteArray]) -> list[FloatArray]:
        return [rows_for(*image.shape[:2]) for image in images]


@cache
def rows_for(height: int, width: int) -> FloatArray:
    """The rows of one image: float32 [FACES,15]."""
    loc, conf, landmarks = answer_for(height, width)
    chosen = np.flatnonzero(conf[:, 1])
    anchors = anchors_for(height, width)[chosen]
    points = decode_landmarks(landmarks[chosen], anchors).reshape(FACES, 10)
    return np.hstack([conf[chosen, 1:], decode_boxes(loc[chosen], anchors), points])


@cache
def answer_for(height: int, width: int) -> tuple[FloatArray, ...]:
    """The network's outputs for one image: float32 [A,4], [A,2] and [A,10]."""
    anchors = anchors_for(height, width)
    loc, conf, landmarks = (np.zeros((len(anchors), size), np.float32) for size in (4, 2, 10))
    of_size = np.flatnonzero(anchors[:, 2] == FACE_SIDE)
    conf[of_size[np.linspace(0, len(of_size) - 1, FACES).astype(int)], 1] = 0.95
    return loc, conf, landmarks


@dataclass(frozen=True, slots=True)
class Cost:
    rate: float
    cpu_ms: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=1600, help="of each row")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--groups", type=int, default=4, help="on their way at a time")
    options = parser.parse_args()
    rows: list[tuple[object, ...]] = []
    bars: list[tuple[str, float]] = []
    for side in (640, 96):
        request = two_photos(side)
        alone = decoding_ms(request)
        for network, size in product((InstantNetwork, InstantDevice), (1, 16)):
            cost = asyncio.run(fed(request, options, network(CHOICE), group=size))
            kind = "device" if network is InstantDevice else "cpu"
            figures = (round(cost.rate), round(cost.cpu_ms, 2), round(alone, 2))
            rows.append((f"{side} px", kind, size, *figures))
            bars.append((f"{side} px, {kind}, groups of {size}", cost.cpu_ms))
    title = f"A detector replica around a network that takes no time, {options.workers} workers"
    report("feeding", title, COLUMNS, rows, draw=lambda axes: draw_bars(axes, bars, "CPU ms/photo"))


def replica(workers: int, network: InstantNetwork) -> Any:
    feeders = 2 if isinstance(network, InstantDevice) else 0
    config = DetectorConfig(preset="published", workers=workers, feeders=feeders)
    detector = Detector(config, model=config.entry, backend=network)
    deployment: Any = stage.DetectorDeployment
    with patch.object(stage, "detector_from", lambda _config: detector):
        return deployment.func_or_class(config, ImageLimits())


async def fed(
    request: Sequence[Photo], options: argparse.Namespace, network: InstantNetwork, *, group: int
) -> Cost:
    """Groups of requests, two photos each, sent by a few callers one after the other."""
    detector = replica(options.workers, network)
    detector.reconfigure({"max_batch_size": 32})

    async def caller(photos: int) -> None:
        for _ in range(max(1, photos // (group * len(request)))):
            found = await detector.detect([request] * group, crops=True)
            assert all(len(photo.faces) == 1 for photos in found for photo in photos)

    async def callers(photos: int) -> None:
        await asyncio.gather(*(caller(photos // options.groups) for _ in range(options.groups)))

    await callers(options.photos // 4)
    started, cpu = time.perf_counter(), time.process_time()
    await callers(options.photos)
    took_s, cpu_s = time.perf_counter() - started, time.process_time() - cpu
    return Cost(options.photos / took_s, cpu_s / options.photos * MS)


def two_photos(side: int) -> list[Photo]:
    """A request of two groups' photos with that longer side, in pixels."""
    files = [resized_photo(name, side) for name in ("gdp.jpg", "players.jpg")]
    return [Photo("image", file, "largest", time_left_s=60) for file in files]


def decoding_ms(request: Sequence[Photo]) -> float:
    """CPU time of reading a photo's file, in milliseconds."""
    photos, limits = [*request] * 100, ImageLimits()
    started = time.process_time()
    for photo in photos:
        read_image(photo, limits, needed_side=lambda longer: longer)
    return (time.process_time() - started) / len(photos) * MS


if __name__ == "__main__":
    main()
