"""The GPU profile with the published networks, on logical GPUs.

The profile's placement is deployed as it is, with stand-in weights that run on the CPU, and without
weights for FRIR: the tests need no GPU, and the published weights cannot be shipped.
"""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import ray
import yaml

from graph.cluster.launch import RunningGraph
from tests.support.applications import added
from tests.support.photos import YAOMING, photo_bytes
from tests.support.profiles import ROOT
from tests.support.published_models import save_models, with_stand_ins
from tests.support.ray_private import SERVE_NAMESPACE
from tests.support.waiting import TIMEOUT_S


@pytest.fixture(scope="module")
def published(
    running: RunningGraph, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    models = tmp_path_factory.mktemp("models")
    save_models(models, "retinaface-r50", "arcface-ir50", "frfm", "rts")  # and not frir
    profile = yaml.safe_load((ROOT / "configs/profiles/gpu.yaml").read_text())
    application = with_stand_ins(profile["applications"][0], name="published", models=models)
    with (
        added(running, application) as graph,
        httpx.Client(base_url=graph.url, timeout=TIMEOUT_S) as client,
    ):
        yield client


def test_each_replica_gets_its_share_of_a_gpu(published: httpx.Client) -> None:
    assert published.get("/healthz").status_code == 200

    def assigned_gpus(_replica: Any) -> list[str]:
        """Pickled by value: replicas need not import this module, and PyTorch with it."""
        return list(ray.get_runtime_context().get_accelerator_ids()["GPU"])

    names = [
        actor["name"]
        for actor in ray.util.list_named_actors(all_namespaces=True)
        if actor["name"].startswith("SERVE_REPLICA::published#")
    ]
    actors = [ray.get_actor(name, namespace=SERVE_NAMESPACE) for name in names]
    ids = ray.get([actor.__ray_call__.remote(assigned_gpus) for actor in actors])
    shares = {name.split("#")[1]: one for name, one in zip(names, ids, strict=True)}
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
