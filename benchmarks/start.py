"""One model in a process of its own, for benchmarks/footprint.py: what it costs to start.

    python -m benchmarks.start '{"kind": "recognizer", "model": "arcface-mbf", "runtime": "auto"}'

Takes a stage's settings, loads the model, answers a canary and prints what that took; for each
line it then reads, it works on a few photos or chips and prints a line. In between it waits, so
that its memory can be looked at. Nothing is imported before the clock runs.
"""

import json
import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

CALLS = 5
# As the stages' own canaries, and as large as what they work on. [H,W,3], [N,112,112,3].
DETECTOR_CANARY, DETECTOR_WORK = (64, 64, 3), (480, 640, 3)
RECOGNIZER_CANARY, RECOGNIZER_WORK = (1, 112, 112, 3), (2, 112, 112, 3)


def main() -> None:
    settings = json.loads(sys.argv[1])
    canary, work, took = started(settings.pop("kind"), settings)
    canary()
    print(json.dumps(took | {"answered_at": time.time()}), flush=True)
    for _ in sys.stdin:
        for _ in range(CALLS):
            work()
        print("done", flush=True)


def started(
    kind: str, settings: dict[str, Any]
) -> tuple[Callable[[], object], Callable[[], object], dict[str, float]]:
    """The canary, the work, and the seconds spent on imports and on loading."""
    before = time.perf_counter()
    load, canary_shape, work_shape = loader(kind, settings)
    imported = time.perf_counter()
    answer = load()
    took = {"import_s": imported - before, "load_s": time.perf_counter() - imported}

    import numpy as np

    canary, work = np.zeros(canary_shape, np.uint8), np.zeros(work_shape, np.uint8)
    return lambda: answer(canary), lambda: answer(work), took


def loader(
    kind: str, settings: dict[str, Any]
) -> tuple[Callable[[], Callable[[Any], object]], tuple[int, ...], tuple[int, ...]]:
    """What loads the model, its code and its runtime's imported; the canary's shape, the work's."""
    if kind == "detector":
        from configs.detector import DetectorConfig
        from deployments.detector.detector import detector_from

        detector = DetectorConfig.model_validate(settings)
        import_runtime(detector)
        return lambda: detector_from(detector).detect, DETECTOR_CANARY, DETECTOR_WORK
    from configs.recognizer import RecognizerConfig
    from deployments.recognizer.recognizer import recognizer_from

    recognizer = RecognizerConfig.model_validate(settings)
    import_runtime(recognizer)
    return lambda: recognizer_from(recognizer).embed, RECOGNIZER_CANARY, RECOGNIZER_WORK


def import_runtime(config: Any) -> None:
    """What `load_backend` would import while it loads, so that it counts as import."""
    from configs.catalogue import CATALOGUE

    if not CATALOGUE[config.model].is_onnx:
        import_module("deployments.inference.load_checkpoint")
    if config.runtime == "openvino":
        import_module("deployments.inference.openvino_runtime")


if __name__ == "__main__":
    main()
