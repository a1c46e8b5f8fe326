"""The default models in OpenVINO against the original code's answers and ONNX Runtime's."""

from concurrent.futures import ThreadPoolExecutor, TimeoutError
from pathlib import Path
from typing import Literal

import numpy as np
import openvino
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper
from pydantic import ValidationError

from configs.catalogue import CATALOGUE
from configs.detector import DetectorConfig
from configs.environment import compiled_models_folder
from configs.model import ModelConfig, Precision, Runtime
from configs.recognizer import RecognizerConfig
from deployments.contracts import ByteArray, Detections
from deployments.detector import Detector
from deployments.detector.detector import detector_from
from deployments.errors import InvalidConfig, InvalidWeights
from deployments.images.alignment import align
from deployments.inference.backend import Choice, ModelSpec, Network
from deployments.inference.export_cache import locked_cache_folder
from deployments.inference.machine import Machine
from deployments.inference.openvino_runtime import openvino_settings
from deployments.recognizer import Recognizer, load_recognizer
from deployments.recognizer.iresnet import IResNet
from deployments.recognizer.recognizer import recognizer_from
from tests.deployments.detector.test_parity import PHOTOS, expected, reference
from tests.support import parity
from tests.support.photos import GDP, PLAYERS, YAOMING, photo
from tests.support.small_recognizer import save_onnx

CHIPS = Network(lambda _: IResNet(), input_size=(112, 112), output_size=512)
PIXELS, NUMBERS = 0.5, 1e-3
RAW = 2e-4
PAIRS = ((GDP, PLAYERS), (GDP, YAOMING), (PLAYERS, YAOMING))
Vectors = dict[str, NDArray[np.float32]]


def detector_in(runtime: Runtime) -> Detector:
    return detector_from(DetectorConfig(runtime=runtime, max_side=None, device="cpu"))


def recognizer_in(runtime: Runtime, precision: Precision = "float32") -> Recognizer:
    return recognizer_from(RecognizerConfig(runtime=runtime, precision=precision, device="cpu"))


@pytest.fixture(scope="module")
def detector() -> Detector:
    return detector_in("openvino")


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return recognizer_in("openvino")


@pytest.fixture(scope="module")
def faces(detector: Detector) -> dict[str, Detections]:
    return {name: detector.detect(photo(name)) for name in PHOTOS}


@pytest.fixture(scope="module")
def chips(faces: dict[str, Detections]) -> dict[str, ByteArray]:
    return {name: align(photo(name), faces[name].landmarks) for name in PHOTOS}


@pytest.fixture(scope="module")
def vectors(recognizer: Recognizer, chips: dict[str, ByteArray]) -> Vectors:
    return vectors_of(recognizer, chips)


def vectors_of(recognizer: Recognizer, chips: dict[str, ByteArray]) -> Vectors:
    return {name: recognizer.embed(chips[name]).vectors for name in PHOTOS}


def cosines(vectors: Vectors, others: Vectors) -> NDArray[np.float32]:
    """Cosines of every face's two embeddings: float32 [100], photo by photo."""
    return np.concatenate([(vectors[name] * others[name]).sum(axis=1) for name in PHOTOS])


def decisions(recognizer: Recognizer, vectors: Vectors) -> list[NDArray[np.bool_]]:
    """The pairs of faces that match, for every two photos: bool [N,M] each."""
    threshold = recognizer.config.decision_threshold
    return [vectors[one] @ vectors[other].T >= threshold for one, other in PAIRS]


@pytest.mark.parametrize("name", PHOTOS)
def test_every_face_is_found_where_the_original_finds_it(
    faces: dict[str, Detections], name: str
) -> None:
    found = faces[name]
    assert len(found) == len(expected(name, "score"))
    assert np.abs(found.boxes - expected(name, "box")).max() < PIXELS
    assert np.abs(found.landmarks - expected(name, "landmarks")).max() < PIXELS
    assert np.abs(found.scores - expected(name, "score")).max() < NUMBERS


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_cosines_of_every_pair_of_faces_are_the_originals(
    vectors: Vectors, one: str, other: str
) -> None:
    found = vectors[one] @ vectors[other].T
    assert np.abs(found - reference()["cosine"][f"{one}|{other}"]).max() < NUMBERS


def test_embeddings_are_those_of_onnx_runtime(
    recognizer: Recognizer, vectors: Vectors, chips: dict[str, ByteArray]
) -> None:
    assert recognizer.backend.choice.runtime == "openvino"
    others = vectors_of(recognizer_in("onnxruntime"), chips)
    assert vectors[GDP].dtype == np.float32
    assert cosines(vectors, others).min() > 0.9999


def test_bfloat16_decides_as_float32_or_says_that_the_cpu_lacks_it(
    recognizer: Recognizer,
    vectors: Vectors,
    chips: dict[str, ByteArray],
    faces: dict[str, Detections],
) -> None:
    """Some spectators of 10 to 13 pixels have a cosine of 0.9987."""
    if not Machine().native_bfloat16:
        with pytest.raises(InvalidConfig, match=r"precision: bfloat16 in openvino needs a CPU"):
            recognizer_in("openvino", "bfloat16")
        return
    halved = vectors_of(recognizer_in("openvino", "bfloat16"), chips)
    found = cosines(halved, vectors)
    widths = np.concatenate([faces[name].boxes[:, 2] - faces[name].boxes[:, 0] for name in PHOTOS])
    assert 0.999 < found[widths > 20].min() < 0.999999
    assert found.min() > 0.998
    pairs = zip(decisions(recognizer, halved), decisions(recognizer, vectors), strict=True)
    assert all(np.array_equal(one, other) for one, other in pairs)
    assert sum(int(matched.sum()) for matched in decisions(recognizer, halved)) == 1


def test_photos_of_any_size_and_number_give_the_raw_answers_of_onnx_runtime(
    detector: Detector,
) -> None:
    other = detector_in("onnxruntime")
    random = np.random.RandomState(0)
    for count, height, width in random.randint((1, 33, 33), (4, 200, 200), (12, 3)):
        pixels = random.randint(0, 256, (count, height, width, 3), np.uint8)
        answers = zip(detector.backend.run(pixels), other.backend.run(pixels), strict=True)
        for found, wanted in answers:
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, wanted, rtol=0, atol=RAW)


def test_more_threads_than_workers_are_answered_as_one(recognizer: Recognizer) -> None:
    pixels = [parity.photo(112, 112, seed=seed)[None] for seed in range(12)]
    alone = [recognizer.embed(chip).vectors for chip in pixels]
    with ThreadPoolExecutor(4) as threads:
        together = threads.map(lambda chip: recognizer.embed(chip).vectors, pixels)
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)


def test_pixels_may_be_read_only_or_strided_and_are_left_as_they_are(
    recognizer: Recognizer,
) -> None:
    pixels = parity.photo(112, 112)[None]
    wide = np.repeat(pixels, 2, axis=2)
    wide.setflags(write=False)
    before = wide.copy()
    strided = recognizer.embed(wide[:, :, ::2]).vectors
    np.testing.assert_allclose(strided, recognizer.embed(pixels).vectors, rtol=0, atol=1e-6)
    assert np.array_equal(wide, before)


def test_answers_outlive_the_next_call(recognizer: Recognizer) -> None:
    pixels = np.stack([parity.photo(112, 112, seed=seed) for seed in range(2)])
    (first,) = recognizer.backend.run(pixels[:1])
    kept = first.copy()
    recognizer.backend.run(pixels[1:])
    assert np.array_equal(first, kept)


def test_a_compiled_model_is_read_from_the_cache_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACEGRAPH_OPENVINO_CACHE", str(tmp_path / "compiled"))
    pixels = parity.photo(112, 112)[None]
    first = recognizer_in("openvino").embed(pixels).vectors
    written = compiled_models()
    assert len(written) == 2  # for one chip, and for any number
    second = recognizer_in("openvino").embed(pixels).vectors
    assert written == compiled_models()
    np.testing.assert_allclose(first, second, rtol=0, atol=1e-6)


def compiled_models() -> dict[Path, int]:
    """The time at which each was written, in ns."""
    return {path: path.stat().st_mtime_ns for path in compiled_models_folder().glob("*.blob")}


def test_a_model_is_compiled_only_where_no_other_process_compiles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACEGRAPH_OPENVINO_CACHE", str(tmp_path))
    with ThreadPoolExecutor() as threads:
        with locked_cache_folder():
            loading = threads.submit(recognizer_in, "openvino")
            with pytest.raises(TimeoutError):
                loading.result(timeout=5)
            assert not compiled_models()
        assert loading.result().backend.choice.runtime == "openvino"
    assert len(compiled_models()) == 2


def test_a_damaged_compiled_model_is_compiled_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACEGRAPH_OPENVINO_CACHE", str(tmp_path))
    pixels = parity.photo(112, 112)[None]
    wanted = recognizer_in("openvino").embed(pixels).vectors
    for written in compiled_models():
        content = written.read_bytes()
        written.unlink()
        written.write_bytes(content[: len(content) // 2])
    found = recognizer_in("openvino").embed(pixels).vectors
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6)


def test_without_a_cache_folder_models_are_compiled_every_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("FACEGRAPH_OPENVINO_CACHE", str(tmp_path / "file" / "compiled"))
    assert recognizer_in("openvino").backend.choice.runtime == "openvino"


def settings(
    given: dict[str, object], precision: Literal["float32", "bfloat16"] = "float32"
) -> dict[str, object]:
    config = ModelConfig.model_validate({"model": "arcface-mbf", **given})
    choice = Choice("openvino", "cpu", precision, "tested")
    return openvino_settings(ModelSpec(CATALOGUE["arcface-mbf"], config, CHIPS, choice, "file"))


def test_streams_are_the_workers_and_each_has_its_threads() -> None:
    found = settings({"workers": 3, "threads": 2})
    assert (found["NUM_STREAMS"], found["INFERENCE_NUM_THREADS"]) == (3, 6)
    assert found["ENABLE_CPU_PINNING"] is False


def test_the_precision_is_the_chosen_one_not_the_cpus_own() -> None:
    assert settings({})["INFERENCE_PRECISION_HINT"] == "f32"
    assert settings({}, "bfloat16")["INFERENCE_PRECISION_HINT"] == "bf16"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"device": "cuda"}, "runtime: openvino computes on the cpu"),
        ({"precision": "float16"}, "precision: float16 needs a checkpoint in runtime torch"),
    ],
)
def test_settings_that_openvino_does_not_take_are_refused_by_name(
    given: dict[str, object], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        settings({"runtime": "openvino", **given})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"takes": ("N", 3, 224, 224)},
            r"expected one float32 input \[\*, 3, 112, 112\], found data f32 \[\*, 3, 224, 224\]",
        ),
        (
            {"size": 256, "gives": ("N", 256)},
            r"expected a float32 output \[\*, 512\], found flat f32 \[\*, 48\],"
            r" fc1_683 f32 \[\*, 256\]",
        ),
        ({"rows": 3}, r"expected an output \(N, 512\): "),
    ],
)
def test_files_of_other_networks_are_refused_when_loaded(
    given: dict[str, tuple[int | str, ...]], message: str, tmp_path: Path
) -> None:
    folder = save_onnx(tmp_path, **given)
    with pytest.raises(InvalidWeights, match=rf"frfm: .*model\.onnx: {message}"):
        load_recognizer("frfm", weights=folder, runtime="openvino")


def save_with_determinants(folder: Path) -> Path:
    """A recognizer with an operator that OpenVINO does not know: every number is the determinant
    of a colour plane."""
    nodes = [
        helper.make_node("Det", ["data"], ["planes"]),
        helper.make_node("Expand", ["first", "shape"], ["vector"]),
    ]
    nodes.insert(1, helper.make_node("Slice", ["planes", "start", "end", "axis"], ["first"]))
    constants = {"start": [0], "end": [1], "axis": [1], "shape": [1, 512]}
    graph = helper.make_graph(
        nodes,
        "determinants",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, ("N", 3, 112, 112))],
        [helper.make_tensor_value_info("vector", TensorProto.FLOAT, ("N", 512))],
        [
            helper.make_tensor(name, TensorProto.INT64, [len(values)], values)
            for name, values in constants.items()
        ],
    )
    opset = [helper.make_opsetid("", 11)]
    content = helper.make_model(graph, opset_imports=opset, ir_version=6).SerializeToString()
    (folder / "model.onnx").write_bytes(content)
    return folder


@pytest.mark.parametrize(
    ("precision", "more"), [("float32", ""), ("auto", "; precision auto: float32 in onnxruntime")]
)
def test_auto_takes_onnx_runtime_for_a_file_that_openvino_cannot_run(
    precision: Precision, more: str, tmp_path: Path
) -> None:
    folder = save_with_determinants(tmp_path)
    config = RecognizerConfig(model="frfm", weights=folder, device="cpu", precision=precision)
    choice = recognizer_from(config).backend.choice
    reason = f"auto: openvino cannot run this file{more}"
    assert (choice.runtime, choice.reason) == ("onnxruntime", reason)
    with pytest.raises(InvalidWeights, match=r"model\.onnx: not an ONNX model that OpenVINO runs"):
        load_recognizer("frfm", weights=folder, runtime="openvino")


def test_a_cpu_computes_bfloat16_natively_if_openvino_says_so() -> None:
    capabilities = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    assert Machine().native_bfloat16 == ("BF16" in capabilities)
