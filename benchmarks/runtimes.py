"""Every runtime and precision on the CPU, one thread: python -m benchmarks.runtimes

The default models with their own weights; the published ones, of which only the time counts here,
with random weights. The runtimes take turns, image by image, so that a slower minute of the machine
is everybody's. `share` is the median of the time over ONNX Runtime's in the same turn; `cpu` counts
all threads. `load` is with the compiled model in OpenVINO's folder where it keeps one.
"""

import platform
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from configs.catalogue import CATALOGUE, Model
from configs.detector import DetectorConfig
from configs.model import Precision, Runtime
from configs.recognizer import RecognizerConfig
from deployments.contracts import ByteArray
from deployments.detector.detector import detector_from
from deployments.detector.network import RetinaFace
from deployments.inference.backend import Backend
from deployments.recognizer.iresnet import IResNet
from deployments.recognizer.recognizer import recognizer_from

TURNS = {"retinaface-mnet025": 40, "arcface-mbf": 40, "arcface-ir50": 12, "retinaface-r50": 5}
PHOTO, CHIP = (480, 640, 3), (112, 112, 3)
WAYS: tuple[tuple[Runtime, Precision], ...] = (
    ("onnxruntime", "float32"),
    ("openvino", "float32"),
    ("openvino", "bfloat16"),
    ("torch", "float32"),
    ("torch", "bfloat16"),
)
MS = 1000


@dataclass
class Contender:
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

    def line(self, reference: "Contender") -> str:
        pairs = zip(self.wall_s, reference.wall_s, strict=True)
        share = statistics.median(own / other for own, other in pairs)
        wall, cpu = statistics.median(self.wall_s), statistics.median(self.cpu_s)
        return f"{wall * MS:8.1f} {cpu * MS:8.1f} {share:7.2f} {self.load_s:8.2f}"


def main() -> None:
    print(f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}; one thread")
    print(f"{'':20} {'':22} {'ms':>8} {'cpu ms':>8} {'share':>7} {'load s':>8}")
    with tempfile.TemporaryDirectory() as folder:
        for name, turns in TURNS.items():
            contenders = race(CATALOGUE[name], weights_of(name, Path(folder)), turns)
            for contender in contenders:
                print(f"{name:20} {contender.name:22} {contender.line(contenders[0])}", flush=True)


def race(model: Model, weights: Path | None, turns: int) -> Sequence[Contender]:
    shape = PHOTO if model.kind == "detector" else CHIP
    pixels = np.random.RandomState(0).randint(0, 256, (1, *shape), np.uint8)
    contenders = [
        loaded(model, weights, runtime, precision)
        for runtime, precision in WAYS
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
    started = time.perf_counter()
    backend = backend_of(model, settings)
    return Contender(f"{runtime} {precision}", backend, time.perf_counter() - started)


def backend_of(model: Model, settings: dict[str, object]) -> Backend:
    if model.kind == "detector":
        return detector_from(DetectorConfig.model_validate(settings)).backend
    return recognizer_from(RecognizerConfig.model_validate(settings)).backend


def weights_of(model: str, folder: Path) -> Path | None:
    """A folder with random weights for a published model; None for a default one."""
    if CATALOGUE[model].is_onnx:
        return None
    module = IResNet() if model == "arcface-ir50" else RetinaFace("resnet50")
    torch.manual_seed(0)
    (folder / model).mkdir()
    torch.save(module.state_dict(), folder / model / CATALOGUE[model].weights_file)
    return folder / model


if __name__ == "__main__":
    main()
