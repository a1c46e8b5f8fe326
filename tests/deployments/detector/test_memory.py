"""A detector replica holds the bound on its memory that docs/operating.md gives, without Ray."""

import asyncio
import io
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import pytest
from PIL import Image

from configs.detector import DetectorConfig
from configs.limits import MEBI, ImageLimits
from deployments.contracts import Photo
from deployments.detector.deployment import DetectorDeployment
from tests.support.processes import peak_growth_mib

WORKERS, BATCH = 2, 4
# Only the first pass, on small inputs: decoding takes nearly all of the memory.
DECODING = DetectorConfig(
    workers=WORKERS, max_side=320, enlarged_side=320, max_tiles=0, turned_faces=False
)
# All passes: the network takes nearly all of it.
SEARCHING = DetectorConfig(workers=WORKERS, max_side=640)


def transparent(side: int) -> bytes:
    """A WebP animation of side x side pixels: no other file takes more memory to decode."""
    first, second = (Image.new("RGBA", (side, side), (90, 120, 150, alpha)) for alpha in (200, 90))
    file = io.BytesIO()
    first.save(file, "WEBP", save_all=True, append_images=[second], method=0)
    return file.getvalue()


def limits_of(side: int) -> ImageLimits:
    return ImageLimits(max_pixels=side**2, max_pixels_in_flight=3 * side**2)


def growth_mib(config: DetectorConfig, side: int, photos: int) -> float:
    """The growth of this process, which has answered once, under that many photos at once."""
    content = transparent(side)
    deployment: Any = DetectorDeployment
    detector = deployment.func_or_class(config, limits_of(side))
    detector.reconfigure({"max_batch_size": BATCH})

    async def detect(sent: Sequence[bytes]) -> None:
        calls = [detector.detect([[Photo("image", one)]], crops=True) for one in sent]
        assert not sum(len(one.faces) for [[one]] in await asyncio.gather(*calls))

    asyncio.run(detect([transparent(64)]))
    with peak_growth_mib(os.getpid()) as growth:
        asyncio.run(detect([content] * photos))
        return growth()


def bound_mib(config: DetectorConfig, limits: ImageLimits) -> float:
    assert config.max_side is not None
    inputs = max(BATCH * config.max_side**2, config.enlarged_side**2)
    network = 120 * config.workers * inputs
    decoding = 10 * config.workers * limits.max_pixels
    return (network + decoding + 3 * limits.max_pixels_in_flight) / MEBI


@pytest.mark.parametrize(("config", "side", "photos"), [(DECODING, 2400, 12), (SEARCHING, 1300, 3)])
def test_many_photos_at_once_stay_within_the_bound(
    config: DetectorConfig, side: int, photos: int
) -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as processes:
        grown_mib = processes.submit(growth_mib, config, side, photos).result()
    assert grown_mib < bound_mib(config, limits_of(side))
