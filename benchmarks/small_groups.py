"""What widening small groups gains OpenVINO: python -m benchmarks.small_groups

A chip in arcface-mbf on one thread, with its convolutions as they are and with
deployments/inference/openvino_runtime.py, in turns. `share`: the median of the time with it over
that without it in the same turn. `difference`: the largest of an embedding's numbers.
"""

import statistics
import time
from typing import Any

import numpy as np
import openvino

from configs.catalogue import CATALOGUE
from deployments.inference.openvino_runtime import widen_small_groups
from deployments.weights.find import find_weights

MODEL, TURNS, CALLS, MS = "arcface-mbf", 21, 20, 1000


def main() -> None:
    content = find_weights(CATALOGUE[MODEL], None).content
    chip = np.random.default_rng(0).normal(size=(1, 3, 112, 112)).astype(np.float32)
    for precision in ("f32", "bf16"):
        ways = [request(content, precision, widened=widened) for widened in (False, True)]
        times = [[call_s(way, chip) for way in ways] for _ in range(TURNS)]
        before, after = (statistics.median(column) for column in zip(*times, strict=True))
        share = statistics.median(after / before for before, after in times)
        answers = [np.array(way.infer([chip])[0]) for way in ways]
        difference = np.abs(answers[0] - answers[1]).max()
        print(
            f"{precision:5} {before * MS:6.2f} ms {after * MS:6.2f} ms, share {share:.2f},"
            f" difference {difference:.1e}"
        )


def request(content: bytes, precision: str, *, widened: bool) -> Any:
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


def call_s(way: Any, chip: np.ndarray[Any, Any]) -> float:
    way.infer([chip])  # its memory may have left the caches while the other one ran
    began = time.perf_counter()
    for _ in range(CALLS):
        way.infer([chip])
    return (time.perf_counter() - began) / CALLS


if __name__ == "__main__":
    main()
