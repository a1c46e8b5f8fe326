"""The served graph's accuracy: its answers are those of the models alone in float32.

The pool `arcface` runs as in serve_config.yaml, in bfloat16 if the CPU computes it natively, and
`second` in float32. The reference runs in this process, in ONNX Runtime; test_parity.py compares it
with the original implementations.
"""

from itertools import combinations

import httpx
import numpy as np
import pytest

from configs.catalogue import CATALOGUE
from deployments.contracts import Detections, FloatArray
from deployments.detector import load_detector
from deployments.images.alignment import align
from deployments.recognizer import load_recognizer
from tests.support.photos import GDP, PLAYERS, YAOMING, photo, photo_bytes

PHOTOS = (YAOMING, GDP, PLAYERS)
LEAST_COSINE = {"arcface": 0.999, "second": 0.9999}
SMALLEST_PX = 20  # chips of smaller faces are enlarged many times
MOST_MOVED = 0.02  # by bfloat16, of cosines of two faces of any size


@pytest.fixture(scope="module")
def reference() -> dict[str, tuple[Detections, FloatArray]]:
    """Each photo's faces and their embeddings."""
    detector = load_detector(runtime="onnxruntime", max_side=640)
    recognizer = load_recognizer(runtime="onnxruntime")
    found = {name: detector.detect(photo(name)) for name in PHOTOS}
    return {
        name: (faces, recognizer.embed(align(photo(name), faces.landmarks)).vectors)
        for name, faces in found.items()
    }


@pytest.fixture(scope="module")
def served(http: httpx.Client) -> dict[str, list[dict[str, FloatArray]]]:
    """Each photo's faces, with their embeddings by pool."""
    fields = {"faces": "all", "recognizers": list(LEAST_COSINE)}
    answers = {
        name: http.post("/v1/embed", data=fields, files={"image": photo_bytes(name)}).json()
        for name in PHOTOS
    }
    return {
        name: [
            {pool: np.asarray(part["embedding"]) for pool, part in face["embeddings"].items()}
            for face in answer["faces"]
        ]
        for name, answer in answers.items()
    }


@pytest.mark.parametrize("pool", LEAST_COSINE)
def test_every_embedding_is_the_references(
    pool: str,
    served: dict[str, list[dict[str, FloatArray]]],
    reference: dict[str, tuple[Detections, FloatArray]],
) -> None:
    for name, (faces, expected) in reference.items():
        vectors = np.stack([face[pool] for face in served[name]])
        assert len(vectors) == len(expected)
        sides = (faces.boxes[:, 2:] - faces.boxes[:, :2]).min(axis=1)
        cosines = (vectors * expected).sum(axis=1)
        assert cosines[sides >= SMALLEST_PX].min() > LEAST_COSINE[pool]
        assert cosines.min() > 0.998


@pytest.mark.parametrize("pool", LEAST_COSINE)
def test_every_pair_of_faces_is_decided_as_by_the_reference(
    pool: str,
    served: dict[str, list[dict[str, FloatArray]]],
    reference: dict[str, tuple[Detections, FloatArray]],
) -> None:
    """Faces of some 10 pixels are often near the threshold: bfloat16 may move them across it."""
    threshold = CATALOGUE["arcface-mbf"].threshold
    vectors = np.concatenate([[face[pool] for face in served[name]] for name in PHOTOS])
    expected = np.concatenate([reference[name][1] for name in PHOTOS])
    boxes = np.concatenate([reference[name][0].boxes for name in PHOTOS])
    large = (boxes[:, 2:] - boxes[:, :2]).min(axis=1) >= SMALLEST_PX
    found, wanted = vectors @ vectors.T, expected @ expected.T
    assert np.abs(found - wanted).max() < MOST_MOVED
    pairs = list(combinations(np.flatnonzero(large), 2))
    decisions = [bool(found[pair] > threshold) for pair in pairs]
    assert decisions == [bool(wanted[pair] > threshold) for pair in pairs]
    assert any(decisions)


def test_the_largest_face_is_the_largest_of_all(http: httpx.Client) -> None:
    """`/v1/compare` may skip anchors of smaller faces, `/v1/detect` finds every face."""
    for name in PHOTOS:
        files = {field: photo_bytes(name) for field in ("source", "target")}
        compared = http.post("/v1/compare", files=files).json()
        faces = http.post("/v1/detect", files={"image": photo_bytes(name)}).json()["faces"]
        boxes = [face["box"] for face in faces]
        largest = max(boxes, key=lambda box: (box[2] - box[0]) * (box[3] - box[1]))
        assert compared["source"]["box"] == pytest.approx(largest, abs=0.01)
        assert compared["similarity"] == pytest.approx(1, abs=1e-3)
