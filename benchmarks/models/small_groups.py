"""Convolutions of many small groups, as they are and widened for OpenVINO.

One chip in arcface-mbf on one thread, in alternation (deployments/inference/openvino_runtime.py
widens). `share` is the median of widened / as they are; `difference` the largest in an embedding's
numbers.
"""

import time
from statistics import median
from typing import Any

import numpy as np
import openvino

from benchmarks.harness.load import MS
from benchmarks.harness.results import draw_bars, paired_ratio, report
from configs.catalogue import CATALOGUE
from deployments.contracts import FloatArray
from deployments.inference.openvino_runtime import widen_small_groups
from deployments.weights.find import find_weights

MODEL, TURNS, CALLS = CATALOGUE["arcface-mbf"], 21, 20


def measure() -> None:
    content = find_weights(MODEL, None).content
    chip = np.random.default_rng(0).normal(size=(1, 3, 112, 112)).astype(np.float32)
    rows, bars = [], []
    for precision in ("f32", "bf16"):
        variants = [compiled(content, precision, widened=widened) for widened in (False, True)]
        turns = [[call_s(variant, chip) for variant in variants] for _ in range(TURNS)]
        before, after = zip(*turns, strict=True)
        answers = [np.array(variant.infer([chip])[0]) for variant in variants]
        difference = np.abs(answers[0] - answers[1]).max()
        times = [median(column) * MS for column in (before, after)]
        share = paired_ratio(after, before)
        shown = (*(f"{ms:.2f}" for ms in times), f"{share:.2f}", f"{difference:.1e}")
        rows.append((precision, *shown))
        bars += [(f"{precision}, as they are", times[0]), (f"{precision}, widened", times[1])]
    report(
        "models_small_groups",
        f"Small groups widened for OpenVINO: a chip in {MODEL.id}, one thread",
        ("precision", "as they are, ms", "widened, ms", "share", "difference"),
        rows,
        draw=lambda axes: draw_bars(axes, bars, "ms"),
    )


def compiled(content: bytes, precision: str, *, widened: bool) -> Any:
    graph = openvino.Core().read_model(content)
    if widened:
        widen_small_groups(graph)
    graph.reshape([1, 3, 112, 112])
    settings = {
        "INFERENCE_PRECISION_HINT": precision,
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": 1,
    }
    return openvino.Core().compile_model(graph, "CPU", settings).create_infer_request()


def call_s(variant: Any, chip: FloatArray) -> float:
    variant.infer([chip])  # the other variant's turn may have evicted it from the caches
    began = time.perf_counter()
    for _ in range(CALLS):
        variant.infer([chip])
    return (time.perf_counter() - began) / CALLS
