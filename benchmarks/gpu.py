"""The published models on a GPU: python -m benchmarks.gpu

With stand-in weights, two 640-px group photos, and configs/profiles/gpu.yaml:

- `networks`: milliseconds of a call of each network, by images a call: bare, which is with its
  input on the device (an ONNX file's is already normalised) and its output left there, and through
  its backend;
- `stages`: one detector replica's photos a second from JPEG files to faces and crops, and one
  recognizer's chips a second, without Ray;
- `http`: comparisons a second of the graph beside the plain server of benchmarks/peers/eager.py on
  the same card, as PyTorch comes and tuned (float16, channels last), with one pool and with all
  four, which the plain server does not have. One of them at a time gets load. A lone client then
  sends photos of shapes that the graph has not seen, and sends them again: what the first time
  takes longer is a new shape's wait.

Without an NVIDIA GPU it is a dry run: the same code on the processor in float32, a logical GPU for
Ray's placement, a few small batches and clients. Its figures tell nothing about a GPU, and its
title says so.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
import yaml

from benchmarks.feeding import two_photos
from benchmarks.harness.load import (
    MS,
    TIMEOUT_S,
    Request,
    compare_request,
    connection,
    cycled,
    measure,
    photo_640,
    resized_photo,
)
from benchmarks.harness.pausing import PausableGraph, pausable_graph
from benchmarks.harness.results import draw_bars, report
from benchmarks.peers import eager
from benchmarks.peers.process import ROOT, Peer, running_peer
from configs.detector import DetectorConfig
from configs.limits import ImageLimits
from configs.recognizer import RecognizerConfig
from deployments.contracts import FloatArray
from deployments.detector.deployment import DetectorDeployment
from deployments.detector.detector import detector_from
from deployments.inference.backend import Backend
from deployments.inference.onnx_runtime import OnnxRuntimeBackend
from deployments.inference.torch_modes import Shape
from deployments.inference.torch_runtime import TorchBackend, TorchCanvasBackend
from deployments.recognizer.recognizer import recognizer_from
from tests.support.published_models import save_models

PROFILE = ROOT / "configs/profiles/gpu.yaml"
MODELS = ("retinaface-r50", "arcface-ir50", "frfm", "frir", "rts")
GROUPS = ("gdp.jpg", "players.jpg")
CANVAS = (480, 640)
LEAST_SIDE = 320  # pixels of the longer side of the photos of new shapes
COLUMNS = ("part", "case", "figure", "unit")
START_TIMEOUT_S = 900.0  # recording takes seconds, the plain server's first calls too
Row = tuple[str, str, float, str]


@dataclass(frozen=True)
class Scale:
    """The sizes of a run: seconds of each figure, images a call, clients, photos of new shapes."""

    device: str
    seconds: float
    batches: Sequence[int]
    clients: Sequence[int]
    shapes: int

    @property
    def on_gpu(self) -> bool:
        return self.device == "cuda"


CARD = Scale("cuda", 10.0, (1, 8, 16, 32, 64, 128), (1, 16, 64, 256), 32)
DRY = Scale("cpu", 1.0, (1, 2), (1, 2), 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = {"networks": networks, "stages": stages, "http": http}
    parser.add_argument("--only", nargs="+", choices=list(parts), default=list(parts))
    options = parser.parse_args()
    scale = CARD if torch.cuda.is_available() else DRY
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        save_models(Path(folder), *MODELS)
        for part in options.only:
            for row in parts[part](scale, Path(folder)):
                print(*row, flush=True)
                rows.append(row)
    bars = [(f"{part}, {case}", figure) for part, case, figure, _ in rows]
    shown = [(part, case, f"{figure:.2f}", unit) for part, case, figure, unit in rows]
    name = "gpu" if scale.on_gpu else "gpu_dry_run"
    report(name, title(scale), COLUMNS, shown, draw=lambda axes: draw_bars(axes, bars, "figure"))


def title(scale: Scale) -> str:
    if not scale.on_gpu:
        return "DRY RUN without a GPU: PyTorch on the processor, float32, small numbers"
    return f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}, stand-in weights"


def profile(scale: Scale, models: Path, pools: Sequence[str]) -> dict[str, Any]:
    """The GPU profile with these pools; without a GPU its placement, on the processor."""
    content: dict[str, Any] = yaml.safe_load(PROFILE.read_text())
    [application] = content["applications"]
    args = application["args"]
    args["detector"] |= {"score_threshold": eager.SCORE_THRESHOLD}
    args["recognizers"] = {name: args["recognizers"][name] for name in pools}
    args["default_recognizers"] = list(pools)
    if not scale.on_gpu:
        cpu = {"device": "cpu", "precision": "float32", "stuck_after_s": TIMEOUT_S}
        args["detector"] |= cpu | {"canvases": [[480, 640], [640, 480]], "feeders": 1}
        for pool in args["recognizers"].values():
            pool |= cpu | {"feeders": 1}
    gone = {f"Recognizer:{name}" for name in ("arcface", "frfm", "frir", "rts")} - {
        f"Recognizer:{name}" for name in pools
    }
    deployments = application["deployments"]
    application["deployments"] = [one for one in deployments if one["name"] not in gone]
    if not scale.on_gpu:  # a few cores place it too, and take tens of seconds for an answer
        for one in application["deployments"]:
            one["ray_actor_options"]["num_cpus"] = 0.1
            one["health_check_timeout_s"] = TIMEOUT_S
        args["retries"] = {"hedge_after_s": TIMEOUT_S / 2}
    for stage in (args["detector"], *args["recognizers"].values()):
        stage["weights"] = str(models / stage["model"])
    args["request_limits"] = {"timeout_s": TIMEOUT_S}
    return content


def detector_config(scale: Scale, models: Path) -> DetectorConfig:
    args = profile(scale, models, ["arcface"])["applications"][0]["args"]["detector"]
    return DetectorConfig.model_validate(args)


def pool_configs(scale: Scale, models: Path) -> Iterator[RecognizerConfig]:
    pools = profile(scale, models, ["arcface", "frfm", "frir", "rts"])
    for args in pools["applications"][0]["args"]["recognizers"].values():
        yield RecognizerConfig.model_validate(args)


# -- networks --


def networks(scale: Scale, models: Path) -> Iterator[Row]:
    detector = detector_from(detector_config(scale, models)).backend
    assert isinstance(detector, TorchCanvasBackend)
    for count in scale.batches[:4]:
        photos = [np.zeros((*CANVAS, 3), np.uint8)] * count
        case = f"retinaface-r50, {detector.choice.precision}, {count}"
        yield called(f"{case}, bare", bare(detector, Shape(count, *CANVAS)), scale)
        yield called(case, partial(detector.rows, photos), scale)
    for config in pool_configs(scale, models):
        backend = recognizer_from(config).backend
        for count in scale.batches:
            chips = np.zeros((count, 112, 112, 3), np.uint8)
            case = f"{config.model}, {backend.choice.precision}, {count}"
            yield called(f"{case}, bare", bare_recognizer(backend, count), scale)
            yield called(case, partial(backend.run, chips), scale)


def bare(backend: TorchBackend, shape: Shape) -> Callable[[], object]:
    """A run whose input is on the device, and whose output stays there."""
    inputs = backend._example(shape)
    return lambda: backend._run(inputs, lambda outputs: [])


def bare_recognizer(backend: Backend, count: int) -> Callable[[], object]:
    if isinstance(backend, TorchBackend):
        return bare(backend, Shape(count, 112, 112))
    assert isinstance(backend, OnnxRuntimeBackend)
    return bare_onnx(backend, np.zeros((count, 3, 112, 112), np.float32))


def bare_onnx(backend: OnnxRuntimeBackend, planes: FloatArray) -> Callable[[], object]:
    """A run whose input, normalised planes [B,3,H,W], is on the device, and whose output stays."""
    device = backend.choice.device
    binding = backend._session.io_binding()
    stored = onnxruntime.OrtValue.ortvalue_from_numpy(planes, device)
    binding.bind_ortvalue_input(backend._input, stored)
    for name in backend._outputs:
        binding.bind_output(name, device)
    return lambda: backend._session.run_with_iobinding(binding)


def called(case: str, call: Callable[[], object], scale: Scale) -> Row:
    """Milliseconds of a call after the first one, the mean over a fifth of `scale.seconds`."""
    call()
    began, count = time.perf_counter(), 0
    while not count or time.perf_counter() < began + scale.seconds / 5:
        call()
        count += 1
    return "networks", case, (time.perf_counter() - began) / count * MS, "ms"


# -- stages --


def stages(scale: Scale, models: Path) -> Iterator[Row]:
    deployment: Any = DetectorDeployment
    replica = deployment.func_or_class(detector_config(scale, models), ImageLimits())
    groups = (1, 4, 16) if scale.on_gpu else (1,)
    for group in groups:
        rate = asyncio.run(photos_per_s(replica, group, scale.seconds))
        yield "stages", f"detector, 4 groups of {group} requests", rate, "photos/s"
    for config in pool_configs(scale, models):
        recognizer = recognizer_from(config)
        count = config.batch_faces_on(scale.device) if scale.on_gpu else 4
        chips = np.zeros((count, 112, 112, 3), np.uint8)
        _, case, took_ms, _ = called(config.model, partial(recognizer.embed, chips), scale)
        yield "stages", f"{case}, {count} chips a call", count / took_ms * MS, "chips/s"


async def photos_per_s(replica: Any, group: int, seconds: float) -> float:
    requests = [two_photos(640)] * group
    until, photos = time.perf_counter() + seconds, 0

    async def caller() -> None:
        nonlocal photos
        while time.perf_counter() < until:
            photos += sum(len(one) for one in await replica.detect(requests, crops=True))

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(4)))
    return photos / (time.perf_counter() - began)


# -- http --


def http(scale: Scale, models: Path) -> Iterator[Row]:
    """The graph and the plain servers, each with its clients, one after the other."""
    request = compare_request(*map(photo_640, GROUPS))
    at = ("--weights", str(models), "--device", scale.device)
    peers = [Peer("plain", "eager", at)]
    if scale.on_gpu:
        peers.append(Peer("plain, tuned", "eager", (*at, "--tuned")))
    for pools in (["arcface"], ["arcface", "frfm", "frir", "rts"]):
        content = profile(scale, models, pools)
        content["http_options"].pop("port", None)
        gpus = {} if scale.on_gpu else {"num_gpus": 1}
        with ExitStack() as stack:
            graph = stack.enter_context(pausable_graph(content, timeout_s=START_TIMEOUT_S, **gpus))
            yield from asked(f"graph, {len(pools)} pools", graph.url, request, scale)
            if len(pools) == 1:
                yield from new_shapes(graph.url, request, scale)
                yield from beside(graph, peers, request, scale)


def beside(
    graph: PausableGraph, peers: Sequence[Peer], request: Any, scale: Scale
) -> Iterator[Row]:
    for peer in peers:
        with graph.paused(), running_peer(peer) as url:
            yield from asked(peer.name, url, request, scale)


def asked(name: str, url: str, request: Any, scale: Scale) -> Iterator[Row]:
    measure(url, request, concurrency=max(scale.clients), seconds=scale.seconds / 4)
    for clients in scale.clients:
        found = measure(url, request, concurrency=clients, seconds=scale.seconds, at_least=2)
        if found.failed:
            yield "http", f"{name}, {clients} clients, failed", found.failed, "requests"
        yield "http", f"{name}, {clients} clients", found.rate, "comparisons/s"
        yield "http", f"{name}, {clients} clients, p50", found.p50_ms, "ms"
        yield "http", f"{name}, {clients} clients, p99", found.p99_ms, "ms"


def new_shapes(url: str, known: Request, scale: Scale) -> Iterator[Row]:
    """known: a request of shapes that the graph has seen."""
    sides = np.linspace(LEAST_SIDE, 640, scale.shapes, endpoint=False).astype(int)
    photos = [[resized_photo(name, int(side)) for name in GROUPS] for side in sides]
    requests = [compare_request(*pair) for pair in photos]
    first, again = asyncio.run(sent_twice(url, known, requests))
    case = f"graph, {len(first)} photo shapes"
    yield "http", f"{case}, first time, longest", max(first), "ms"
    yield "http", f"{case}, second time, longest", max(again), "ms"
    longer = max(one - other for one, other in zip(first, again, strict=True))
    yield "http", f"{case}, a shape's wait, longest", longer, "ms"


async def sent_twice(
    url: str, known: Request, requests: Sequence[Request]
) -> tuple[list[float], list[float]]:
    """Send all requests, one at a time, and then again; the milliseconds of each, in order."""
    async with connection(url, 1) as post:
        await post(known)  # opens the connection
        load = cycled(post, requests)
        await load.run(1, seconds=0, at_least=2 * len(requests))
    assert all(one.outcome.status == 200 for one in load.sent)
    took_ms = [one.latency_s * MS for one in load.sent]
    return took_ms[: len(requests)], took_ms[len(requests) :]


if __name__ == "__main__":
    main()
