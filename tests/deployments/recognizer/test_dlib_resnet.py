"""dlib's network, read from its own file: dlib's numbers, in every runtime.

dlib_resnet.json has what dlib 20.0.1's `compute_face_descriptor` answers for these two pictures.
"""

import json
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
import pytest

from configs.catalogue import CATALOGUE
from configs.model import Runtime
from deployments.contracts import ByteArray
from deployments.detector import load_detector
from deployments.errors import InvalidImage, InvalidWeights
from deployments.images.alignment import align
from deployments.recognizer import load_recognizer
from deployments.weights.dlib_file import dlib_entries
from deployments.weights.find import find_weights
from tests.support.photos import PLAYERS, YAOMING, photo

MODEL = CATALOGUE["dlib-resnet29"]
ANSWERS = json.loads(Path(__file__).with_name("dlib_resnet.json").read_text())


def is_installed() -> bool:
    try:
        distribution("face-recognition-models")
    except PackageNotFoundError:
        return False
    return True


# The package comes with the extra `dlib`, which takes 100 MB.
needs_weights = pytest.mark.skipif(not is_installed(), reason="needs the extra dlib")


def pictures() -> ByteArray:
    """A black picture, and one whose colours rise by row and column: uint8 [2,150,150,3] BGR."""
    rows, columns = np.indices((150, 150))
    rising = np.stack([rows + 50, columns + 80, (rows * columns) % 256], axis=2)
    return np.stack([np.zeros_like(rising), rising]).astype(np.uint8)


@needs_weights
@pytest.mark.parametrize("runtime", ["torch", "openvino"])
def test_the_numbers_are_dlibs(runtime: Runtime) -> None:
    recognizer = load_recognizer("dlib-resnet29", runtime=runtime)
    (raw,) = recognizer.backend.run(pictures())
    np.testing.assert_allclose(raw, ANSWERS, atol=2e-6)


@needs_weights
def test_faces_are_embedded_from_chips_of_dlibs_size_and_template() -> None:
    """One photo of a person, and the same photo mirrored, are closer than one and another's."""
    detector, recognizer = load_detector(), load_recognizer("dlib-resnet29", runtime="torch")
    portrait, other = photo(YAOMING), photo(PLAYERS)
    chips = [
        align(image, detector.detect(image).landmarks[:1], MODEL.chip)
        for image in (portrait, np.ascontiguousarray(portrait[:, ::-1]), other)
    ]
    found = recognizer.embed(np.concatenate(chips))
    assert found.vectors.shape == (3, 128)
    itself, different = found.vectors[1:] @ found.vectors[0]
    assert itself > recognizer.config.decision_threshold
    assert itself > different
    assert found.quality is not None
    assert found.quality[0] > 0.5
    with pytest.raises(InvalidImage, match=r"expected uint8 \(N, 150, 150, 3\)"):
        recognizer.embed(np.zeros((1, 112, 112, 3), np.uint8))


@needs_weights
@pytest.mark.parametrize("kept", [0, 100, 300_000, 22_400_000])
def test_a_file_that_ends_early_is_refused(kept: int, tmp_path: Path) -> None:
    damaged = tmp_path / "cut.dat"
    damaged.write_bytes(find_weights(MODEL, None).path.read_bytes()[:kept])
    with pytest.raises(InvalidWeights, match="not dlib's face recognition network, or damaged"):
        dlib_entries(damaged)


def test_another_file_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.dat"
    other.write_bytes(bytes(range(256)) * 40)
    with pytest.raises(InvalidWeights, match="no loss_metric"):
        dlib_entries(other)
