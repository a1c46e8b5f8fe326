"""The GPU profile with the published networks, on logical GPUs.

There is no GPU here and the published weights cannot be had: the profile's placement is deployed as
it is, with stand-in weights that the CPU computes, and without any for FRIR.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import ray
import torch
import yaml

from configs.detector import DetectorConfig
from deployments.aligner.similarity import align
from deployments.contracts import FloatArray
from deployments.detector.detector import detector_from
from deployments.detector.postprocess import choose
from deployments.recognizer import load_recognizer
from deployments.recognizer.iresnet import IResNet
from deployments.runtime.onnx_export import export_onnx
from graph import FaceGraph
from graph.launch import RunningGraph, deploy
from graph.modelscope import OutputKeys, Tasks, pipeline
from tests.conftest import ROOT
from tests.photos import YAOMING, photo, photo_bytes
from tests.stand_in import entries_for, published_entries

NETWORKS = {
    "retinaface-r50": "retinaface_r50",
    "arcface-ir50": "arcface_ir50",
    "rts": "rts_irse64",
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as FACEGRAPH_MODELS takes it: all the published models but FRIR."""
    folder = tmp_path_factory.mktemp("models")
    for model, network in NETWORKS.items():
        (folder / model).mkdir()
        torch.save(published_entries(network), folder / model / "pytorch_model.pt")
    module = IResNet()
    module.load_state_dict(entries_for(module))
    (folder / "frfm").mkdir()
    example = torch.zeros(1, 3, 112, 112)
    frfm = export_onnx(module.eval(), example=example, free_axes={0: "batch"})
    (folder / "frfm" / "model.onnx").write_bytes(frfm)
    return folder


def on_the_cpu(application: dict[str, Any], weights: Path) -> dict[str, Any]:
    """The profile's application, placed as it says, computed by the CPU."""
    args = application["args"]
    cpu = {"device": "cpu", "precision": "float32", "runtime": "auto"}
    pools = {name: pool | cpu for name, pool in args["recognizers"].items()}
    environment = {"env_vars": {"FACEGRAPH_MODELS": str(weights)}}
    return application | {
        "name": "published",
        "route_prefix": "/published",
        "args": args | {"detector": args["detector"] | cpu, "recognizers": pools},
        "runtime_env": environment,
    }


@pytest.fixture(scope="module")
def published(running: RunningGraph, weights: Path) -> Iterator[httpx.Client]:
    profile = yaml.safe_load((ROOT / "configs" / "gpu.yaml").read_text())
    added = on_the_cpu(profile["applications"][0], weights)
    applications = [*running.content["applications"], added]
    deploy(running.content | {"applications": applications}, address=running.address)
    with httpx.Client(base_url=f"{running.url}/published", timeout=120) as client:
        yield client
    deploy(running.content, address=running.address)


@pytest.fixture(scope="module")
def graph(published: httpx.Client) -> FaceGraph:
    assert published.get("/readyz").status_code == 200
    return FaceGraph.connect("published")


@pytest.fixture(scope="module")
def chips(weights: Path) -> Any:
    """The chip that the graph must arrive at, without it: uint8 [1,112,112,3] BGR."""
    config = DetectorConfig(
        model="retinaface-r50", weights=weights / "retinaface-r50", preset="published"
    )
    found = choose(detector_from(config).detect(photo(YAOMING)), "largest")
    return align(photo(YAOMING), found.landmarks)


def test_each_replica_gets_its_share_of_a_gpu(published: httpx.Client) -> None:
    assert published.get("/healthz").status_code == 200
    shares = {}
    for actor in ray.util.list_named_actors(all_namespaces=True):
        if actor["name"].startswith("SERVE_REPLICA::published#"):
            handle = ray.get_actor(actor["name"], namespace=actor["namespace"])
            ids = ray.get(handle.__ray_call__.remote(assigned_gpus))
            shares[actor["name"].split("#")[1]] = ids
    assert shares == {
        "Ingress": [],
        "Detector": ["0"],
        "Aligner": [],
        "Recognizer:arcface": ["0"],
        "Recognizer:frfm": ["0"],
        "Recognizer:frir": ["0"],
        "Recognizer:rts": ["0"],
        "Aggregator": [],
    }
    assert ray.available_resources().get("GPU", 0) == pytest.approx(0, abs=1e-6)


def assigned_gpus(_replica: Any) -> list[str]:
    return list(ray.get_runtime_context().get_accelerator_ids()["GPU"])


def test_a_pool_without_weights_says_what_is_missing_and_the_rest_serve(
    published: httpx.Client,
) -> None:
    models = {entry["pool"]: entry for entry in published.get("/v1/models").json()["models"]}
    assert models["frir"]["available"] is False
    assert "model.onnx" in models["frir"]["unavailable_reason"]
    assert all(models[pool]["available"] for pool in ("arcface", "frfm", "rts"))
    assert published.get("/readyz").json()["unavailable_recognizers"] == ["frir"]
    files = {"image": photo_bytes(YAOMING)}
    refused = published.post("/v1/embed", files=files, data={"recognizers": "arcface,frir"})
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "model_unavailable"
    assert "facegraph models pull frir" in refused.json()["error"]["message"]
    served = published.post("/v1/embed", files=files, data={"recognizers": "arcface,frfm,rts"})
    assert served.status_code == 200
    embeddings = served.json()["faces"][0]["embeddings"]
    assert embeddings["arcface"]["uncertainty"] is None
    assert embeddings["rts"]["uncertainty"] > 0


def test_a_comparison_tells_each_recognizers_score_and_uncertainties(
    published: httpx.Client,
) -> None:
    files = {"source": photo_bytes(YAOMING), "target": photo_bytes(YAOMING)}
    fields = {"recognizers": "arcface,rts"}
    body = published.post("/v1/compare", files=files, data=fields).json()
    assert body["similarity"] == pytest.approx(1, abs=1e-4)
    assert body["decision"] == "match"
    rts = body["scores"]["rts"]
    assert rts["source_uncertainty"] == pytest.approx(rts["target_uncertainty"])
    assert body["scores"]["arcface"]["source_uncertainty"] is None


RECOGNITION = {
    "damo/cv_ir50_face-recognition_arcface": "arcface-ir50",
    "damo/cv_manual_face-recognition_frfm": "frfm",
    "damo/cv_ir_face-recognition-ood_rts": "rts",
}


@pytest.mark.parametrize("model_id", RECOGNITION)
def test_a_published_recognition_snippet_runs_on_the_graph(
    graph: FaceGraph, weights: Path, chips: Any, model_id: str
) -> None:
    recognize = pipeline(Tasks.face_recognition, model_id, graph=graph)
    answer = recognize(photo(YAOMING))
    embedding: FloatArray = answer[OutputKeys.IMG_EMBEDDING]
    model = RECOGNITION[model_id]
    expected = load_recognizer(model, weights=weights / model).embed(chips)
    assert embedding.dtype == np.float32
    assert embedding.shape == (1, 512)
    np.testing.assert_allclose(embedding, expected.vectors, atol=1e-4)
    if expected.uncertainty is not None:
        assert answer[OutputKeys.SCORES][0][0] == pytest.approx(expected.uncertainty[0], abs=1e-4)


def test_the_published_detection_snippet_runs_on_the_graph(graph: FaceGraph, weights: Path) -> None:
    detect = pipeline(
        Tasks.face_detection, "damo/cv_resnet50_face-detection_retinaface", graph=graph
    )
    answer = detect(photo(YAOMING))
    config = DetectorConfig(
        model="retinaface-r50", weights=weights / "retinaface-r50", preset="published"
    )
    expected = detector_from(config).detect(photo(YAOMING))
    assert len(expected) > 0
    np.testing.assert_allclose(answer[OutputKeys.SCORES], expected.scores, atol=1e-4)
    np.testing.assert_allclose(answer[OutputKeys.BOXES], expected.boxes, atol=1e-2)
    points = expected.landmarks.reshape(-1, 10)
    np.testing.assert_allclose(answer[OutputKeys.KEYPOINTS], points, atol=1e-2)


def test_a_model_that_the_graph_cannot_answer_for_is_named(graph: FaceGraph) -> None:
    from deployments.errors import ModelUnavailable

    recognize = pipeline(
        Tasks.face_recognition, "damo/cv_manual_face-recognition_frir", graph=graph
    )
    with pytest.raises(ModelUnavailable, match="frir"):
        recognize(photo(YAOMING))
