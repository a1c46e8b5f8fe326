"""The time of every runtime and precision, on one thread.

The default models have their own weights; the published ones, measured for their time only, have
stand-in weights. The runtimes alternate image by image, so that a slow minute of the machine slows
them all. `share` is the median of the time over ONNX Runtime's next to it; `cpu ms` counts all
threads. `load s` is with the compiled model in OpenVINO's cache if it is there.
"""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.harness.load import MS
from benchmarks.harness.results import draw_bars, paired_ratio, report
from configs.catalogue import CATALOGUE, Model
from configs.detector import DetectorConfig
from configs.model import Precision, Runtime
from configs.recognizer import RecognizerConfig
from deployments.contracts import ByteArray
from deployments.detector.detector import detector_from
from deployments.inference.backend import Backend
from deployments.recognizer.recognizer import recognizer_from
from tests.support.published_models import save_models

TURNS = {"retinaface-mnet025": 40, "arcface-mbf": 40, "arcface-ir50": 12, "retinaface-r50": 5}
SHAPES = {"detector": (1, 480, 640, 3), "recognizer": (1, 112, 112, 3)}
VARIANTS: tuple[tuple[Runtime, Precision], ...] = (
    ("onnxruntime", "float32"),
    ("openvino", "float32"),
    ("openvino", "bfloat16"),
    ("torch", "float32"),
    ("torch", "bfloat16"),
)


@dataclass
class Contender:
    """A model in a runtime, with the seconds of each call, and of CPU."""

    model: str
    name: str
    backend: Backend
    load_s: float
    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)

    def take_turn(self, pixels: ByteArray) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        self.backend.run(pixels)
        self.wall_s.append(time.perf_counter() - wall)
        self.cpu_s.append(time.process_time() - cpu)

    def row(self, reference: "Contender") -> Sequence[object]:
        times = [median(self.wall_s) * MS, median(self.cpu_s) * MS]
        share = paired_ratio(self.wall_s, reference.wall_s)
        shown = [*(f"{ms:.1f}" for ms in times), f"{share:.2f}", f"{self.load_s:.2f}"]
        return self.model, self.name, *shown


def measure() -> None:
    with tempfile.TemporaryDirectory() as folder:
        races = [race(CATALOGUE[name], Path(folder), turns) for name, turns in TURNS.items()]
    contenders = [one for found in races for one in found]
    bars = [(f"{one.model}, {one.name}", median(one.wall_s) * MS) for one in contenders]
    report(
        "models_runtimes",
        "One photo of 640x480, or one chip, on one thread",
        ("model", "runtime", "ms", "cpu ms", "share", "load s"),
        [one.row(found[0]) for found in races for one in found],
        draw=lambda axes: draw_bars(axes, bars, "ms"),
        raw=[{"model": one.model, "runtime": one.name, "wall_s": one.wall_s} for one in contenders],
    )


def race(model: Model, folder: Path, turns: int) -> Sequence[Contender]:
    pixels = np.random.RandomState(0).randint(0, 256, SHAPES[model.kind], np.uint8)
    weights = None if model.is_onnx else save_models(folder, model.id) / model.id
    contenders = [
        loaded(model, weights, runtime, precision)
        for runtime, precision in VARIANTS
        if runtime != "torch" or not model.is_onnx
    ]
    for contender in contenders:
        contender.backend.run(pixels)
    for _ in range(turns):
        for contender in contenders:
            contender.take_turn(pixels)
    return contenders


def loaded(model: Model, weights: Path | None, runtime: Runtime, precision: Precision) -> Contender:
    settings: dict[str, object] = {
        "model": model.id,
        "weights": weights,
        "runtime": runtime,
        "precision": precision,
        "device": "cpu",
        "workers": 1,
    }
    began = time.perf_counter()
    if model.kind == "detector":
        backend = detector_from(DetectorConfig.model_validate(settings)).backend
    else:
        backend = recognizer_from(RecognizerConfig.model_validate(settings)).backend
    return Contender(model.id, f"{runtime} {precision}", backend, time.perf_counter() - began)
