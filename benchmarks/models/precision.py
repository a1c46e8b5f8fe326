"""Accuracy of the detector in bfloat16, part by part.

retinaface-mnet025 runs in float32, with the inputs and weights of some convolutions rounded as
by a CPU that computes in bfloat16. Each face of the bundled photos, at several sizes and mirrored,
is found, aligned and recognised in float32. `cosine` compares its embedding with the one without
rounding; `moved` is the largest displacement of a landmark, in pixels. The least cosine belongs to
a face with two anchors of nearly equal score: any rounding may select the other's landmarks.
"""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper

from benchmarks.harness.results import draw_bars, report
from configs.catalogue import CATALOGUE
from configs.detector import DetectorConfig
from configs.recognizer import RecognizerConfig
from deployments.contracts import ByteArray, Detections, FloatArray
from deployments.detector import Detector
from deployments.detector.detector import detector_from
from deployments.images.alignment import align
from deployments.recognizer import Recognizer
from deployments.recognizer.recognizer import recognizer_from
from deployments.weights.find import find_weights
from tests.support.photos import GDP, PLAYERS, YAOMING
from tests.support.photos import photo as bundled

Faces = Sequence[tuple[Detections, FloatArray]]  # by photo: its faces, their embeddings [N,512]

MODEL = CATALOGUE["retinaface-mnet025"]
PHOTOS, SCALES = (YAOMING, GDP, PLAYERS), (0.4, 0.55, 0.7, 0.85, 1.0, 1.2)
# Words in the names of a part's convolutions.
PARTS = {
    "all": ("",),
    "body, stride 8": ("stage1",),
    "body, stride 16": ("stage2",),
    "body, stride 32": ("stage3",),
    "feature pyramid": ("fpn",),
    "context modules": ("ssh",),
    "heads": ("head",),
    "stride 32 alone": ("stage3", "output3", "ssh3"),
}
LARGE_FACE, SAME_FACE = 32.0, 8.0  # pixels
# Veltkamp's split: the result keeps the 8 significant bits of a bfloat16.
SPLITTER = np.asarray(2**16 + 1, np.float32)


def measure() -> None:
    content = find_weights(MODEL, None).content
    photos = list(scaled_photos())
    recognizer = recognizer_from(RecognizerConfig(precision="float32", device="cpu"))
    whole = recognised(detector_of(content), recognizer, photos)
    rows, bars = [], []
    for name, words in PARTS.items():
        changed, count = rounded(content, words)
        cosines, moved = compared(whole, recognised(detector_of(changed), recognizer, photos))
        shares = [f"{np.quantile(cosines, share):.5f}" for share in (0, 0.01, 0.05)]
        rows.append((name, count, len(cosines), *shares, f"{moved.max():.2f}"))
        bars.append((name, float(1 - cosines.min())))
    report(
        "models_precision",
        f"bfloat16 in {MODEL.id}, faces of {LARGE_FACE:.0f} px or more",
        ("rounded", "convolutions", "faces", "least cosine", "1 %", "5 %", "most moved"),
        rows,
        draw=lambda axes: draw_bars(axes, bars, "1 - least cosine"),
    )


def scaled_photos() -> Iterator[ByteArray]:
    for name in PHOTOS:
        pixels = bundled(name)
        for scale in SCALES:
            scaled = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            photo = np.asarray(scaled, np.uint8)
            yield from (photo, np.ascontiguousarray(photo[:, ::-1]))


def detector_of(content: bytes) -> Detector:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / MODEL.weights_file).write_bytes(content)
        settings = {"model": MODEL.id, "weights": folder, "runtime": "onnxruntime"}
        return detector_from(DetectorConfig.model_validate(settings | {"max_side": 640}))


def rounded(content: bytes, words: Sequence[str]) -> tuple[bytes, int]:
    """The network with rounded inputs and weights in every convolution whose name has one of the
    words, and the number of these convolutions."""
    model = onnx.load_from_string(content)
    model.graph.initializer.append(numpy_helper.from_array(SPLITTER, "splitter"))
    nodes: list[NodeProto] = []
    count = 0
    for node in model.graph.node:
        if node.op_type == "Conv" and any(word in node.name for word in words):
            count += 1
            nodes += [*rounding(node, 0), *rounding(node, 1)]
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return bytes(model.SerializeToString()), count


def rounding(node: NodeProto, place: int) -> list[NodeProto]:
    """Nodes that round one input of a convolution, which then reads their output."""
    source, own = node.input[place], f"{node.name}/rounded {place}"
    node.input[place] = own
    return [
        helper.make_node("Mul", [source, "splitter"], [f"{own}/split"]),
        helper.make_node("Sub", [f"{own}/split", source], [f"{own}/rest"]),
        helper.make_node("Sub", [f"{own}/split", f"{own}/rest"], [own]),
    ]


def recognised(detector: Detector, recognizer: Recognizer, photos: Sequence[ByteArray]) -> Faces:
    found = [detector.detect(photo) for photo in photos]
    if not all(map(len, found)):
        raise SystemExit("no face found in a photo")
    return [
        (faces, recognizer.embed(align(photo, faces.landmarks)).vectors)
        for photo, faces in zip(photos, found, strict=True)
    ]


def compared(before: Faces, after: Faces) -> tuple[FloatArray, FloatArray]:
    """For each large face that both found: its cosine, and the largest displacement of one of its
    landmarks in pixels."""
    cosines: list[float] = []
    moved: list[float] = []
    for (faces, vectors), (others, changed) in zip(before, after, strict=True):
        apart = np.abs(faces.landmarks[:, None] - others.landmarks[None]).max(axis=(2, 3))
        nearest = apart.argmin(axis=1)
        large = (faces.boxes[:, 2:] - faces.boxes[:, :2]).min(axis=1) >= LARGE_FACE
        for row in np.flatnonzero(large & (apart.min(axis=1) < SAME_FACE)):
            cosines.append(float(vectors[row] @ changed[nearest[row]]))
            moved.append(float(apart[row].min()))
    return np.asarray(cosines, np.float32), np.asarray(moved, np.float32)
