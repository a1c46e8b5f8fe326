"""What bfloat16 would cost the detector, part by part: python -m benchmarks.detector_precision

retinaface-mnet025 in float32, with the inputs and weights of some convolutions rounded to bfloat16
as a CPU that computes it does. Each face of the bundled photos, at several sizes and mirrored, is
found, aligned and recognised in float32; `cosine` is that of its embedding to the one without any
rounding, `moved` how far a landmark moved, in pixels. The least cosine is that of a face for which
two anchors are all but equally sure, so that any rounding may take the other one's landmarks.
"""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import onnx
from onnx import ModelProto, NodeProto, helper, numpy_helper
from rich.console import Console
from rich.table import Table

from configs.catalogue import CATALOGUE
from configs.detector import DetectorConfig
from configs.recognizer import RecognizerConfig
from deployments.aligner.similarity import align
from deployments.contracts import ByteArray, Detections, FloatArray
from deployments.detector import Detector
from deployments.detector.detector import detector_from
from deployments.recognizer import Recognizer
from deployments.recognizer.recognizer import recognizer_from
from deployments.weights.find import find_weights
from graph.bundled import bundled_photo

MODEL = CATALOGUE["retinaface-mnet025"]
PHOTOS, SCALES = ("yaoming.jpg", "gdp.jpg", "players.jpg"), (0.4, 0.55, 0.7, 0.85, 1.0, 1.2)
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
# Veltkamp's split: what it leaves of a float32 has the 8 significant bits of a bfloat16.
SPLITTER = np.float32(2**16 + 1)


def main() -> None:
    content = find_weights(MODEL, None).content
    photos = list(bundled_photos())
    recognizer = recognizer_from(RecognizerConfig(precision="float32", device="cpu"))
    whole = seen(detector_of(content), recognizer, photos)
    columns = ("rounded", "convolutions", "faces", "least cosine", "1 %", "5 %", "most moved")
    table = Table(*columns, title=f"bfloat16 in {MODEL.id}, faces of {LARGE_FACE:.0f} px or more")
    for name, words in PARTS.items():
        changed, count = rounded(content, words)
        cosines, moved = compared(whole, seen(detector_of(changed), recognizer, photos))
        shares = [f"{np.quantile(cosines, share):.5f}" for share in (0, 0.01, 0.05)]
        table.add_row(name, str(count), str(len(cosines)), *shares, f"{moved.max():.2f}")
    Console(width=120).print(table)


def bundled_photos() -> Iterator[ByteArray]:
    for name in PHOTOS:
        pixels = np.asarray(cv2.imread(str(bundled_photo(name))), np.uint8)
        for scale in SCALES:
            resized = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            photo = np.asarray(resized, np.uint8)
            yield from (photo, np.ascontiguousarray(photo[:, ::-1]))


def detector_of(content: bytes) -> Detector:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / MODEL.weights_file).write_bytes(content)
        settings = {"model": MODEL.id, "weights": folder, "runtime": "onnxruntime"}
        return detector_from(DetectorConfig.model_validate(settings | {"max_side": 640}))


def rounded(content: bytes, words: Sequence[str]) -> tuple[bytes, int]:
    """The network with the inputs and weights of every convolution that has one of the words in its
    name rounded, and how many there are."""
    model = onnx.load_from_string(content)
    chosen = [
        node
        for node in model.graph.node
        if node.op_type == "Conv" and any(word in node.name for word in words)
    ]
    splitter = numpy_helper.from_array(np.asarray(SPLITTER), "splitter")
    model.graph.initializer.append(splitter)
    originals = shared_weights(model)
    round_weights(model, {originals.get(node.input[1], node.input[1]) for node in chosen})
    nodes: list[NodeProto] = []
    names = {node.name for node in chosen}
    for node in model.graph.node:
        nodes += [*rounding(node), node] if node.name in names else [node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return bytes(model.SerializeToString()), len(chosen)


def shared_weights(model: ModelProto) -> dict[str, str]:
    """Several convolutions may share weights under names of their own."""
    same = {one.output[0]: one.input[0] for one in model.graph.node if one.op_type == "Identity"}
    for name, original in same.items():
        while original in same:
            original = same[original]
        same[name] = original
    return same


def round_weights(model: ModelProto, names: set[str]) -> None:
    for weights in model.graph.initializer:
        if weights.name in names:
            values = numpy_helper.to_array(weights)
            split = SPLITTER * values
            nearest = split - (split - values)
            weights.CopyFrom(numpy_helper.from_array(nearest, weights.name))


def rounding(node: NodeProto) -> list[NodeProto]:
    """What rounds the convolution's input, which it then takes in its place."""
    source, own = node.input[0], f"{node.name}/rounded"
    node.input[0] = own
    return [
        helper.make_node("Mul", [source, "splitter"], [f"{own}/split"]),
        helper.make_node("Sub", [f"{own}/split", source], [f"{own}/rest"]),
        helper.make_node("Sub", [f"{own}/split", f"{own}/rest"], [own]),
    ]


def seen(
    detector: Detector, recognizer: Recognizer, photos: Sequence[ByteArray]
) -> list[tuple[Detections, FloatArray]]:
    """Each photo's faces and their embeddings."""
    found = [detector.detect(photo) for photo in photos]
    if not all(map(len, found)):
        raise SystemExit("a photo in which no face is found")
    return [
        (faces, recognizer.embed(align(photo, faces.landmarks)).vectors)
        for photo, faces in zip(photos, found, strict=True)
    ]


def compared(
    before: Sequence[tuple[Detections, FloatArray]], after: Sequence[tuple[Detections, FloatArray]]
) -> tuple[FloatArray, FloatArray]:
    """Cosine of each large face that both found, and the most that one of its landmarks moved."""
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


if __name__ == "__main__":
    main()
