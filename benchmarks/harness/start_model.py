"""One model in a process of its own, started by benchmarks/footprint.py.

    python -m benchmarks.harness.start_model '{"kind": "recognizer", "model": "arcface-mbf"}'

Takes a stage's settings, loads the model, answers a canary and then works on a few photos or chips.
Prints the seconds that imports and loading took, the time of the canary's answer, and the process's
memory then and after the work. Nothing is imported before the clock starts.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

CALLS = 5
# The shapes of the stages' own canaries, and of their usual work: [H,W,3], [N,112,112,3].
CANARY = {"detector": (64, 64, 3), "recognizer": (1, 112, 112, 3)}
WORK = {"detector": (480, 640, 3), "recognizer": (2, 112, 112, 3)}


def main() -> None:
    settings = json.loads(sys.argv[1])
    kind = settings.pop("kind")
    began = time.perf_counter()
    load = loader(kind, settings)
    imported = time.perf_counter()
    answer = load()
    took = {"import_s": imported - began, "load_s": time.perf_counter() - imported}

    import numpy as np

    answer(np.zeros(CANARY[kind], np.uint8))
    answered = {"answered_at": time.time(), "idle": memory()}
    for _ in range(CALLS):
        answer(np.zeros(WORK[kind], np.uint8))
    print(json.dumps(took | answered | {"after": memory()}))


def memory() -> dict[str, float]:
    from benchmarks.harness.processes import memory_of

    return vars(memory_of(os.getpid()))


def loader(kind: str, settings: dict[str, Any]) -> Callable[[], Callable[[Any], object]]:
    """Import the model's code and its runtime. Return a function that loads the model."""
    if kind == "detector":
        from configs.detector import DetectorConfig
        from deployments.detector.detector import detector_from

        detector = DetectorConfig.model_validate(settings)
        import_runtime(detector)
        return lambda: detector_from(detector).detect
    from configs.recognizer import RecognizerConfig
    from deployments.recognizer.recognizer import recognizer_from

    recognizer = RecognizerConfig.model_validate(settings)
    import_runtime(recognizer)
    return lambda: recognizer_from(recognizer).embed


def import_runtime(config: Any) -> None:
    """Import the modules that `load_backend` would import while it loads, so that they count as
    imports."""

    if not config.entry.is_onnx:
        import_module("deployments.inference.load_checkpoint")
    if config.runtime == "openvino":
        import_module("deployments.inference.openvino_runtime")


if __name__ == "__main__":
    main()
