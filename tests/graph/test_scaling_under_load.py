"""Replicas follow the load, stage by stage, down to zero and back."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import httpx
import pytest

from configs.graph import GraphConfig
from deployments.contracts import Photo
from deployments.errors import DeadlineExceeded
from graph.cluster.launch import RunningGraph
from graph.pipeline.pipeline import Pipeline
from graph.schemas import EmbedOptions
from tests.graph.test_app import unready
from tests.support.applications import added
from tests.support.load import Load, Outcome
from tests.support.photos import PLAYERS, YAOMING, photo_bytes
from tests.support.stages import stages_of
from tests.support.waiting import TIMEOUT_S, wait_until

pytestmark = pytest.mark.timing

# Delays of Serve's autoscaling, a fraction of its defaults.
QUICK = {
    "upscale_delay_s": 0.5,
    "downscale_delay_s": 1.0,
    "metrics_interval_s": 0.5,
    "look_back_period_s": 2.0,
}
ONE_TO_THREE = QUICK | {"min_replicas": 1, "max_replicas": 3}
NONE_TO_ONE = QUICK | {"min_replicas": 0, "max_replicas": 1}
# As in the profiles, a stage accepts more requests than the ingress admits.
# A look at the whole photo only: a search for small faces would take longer than their recognition.
DETECTOR = {"max_tiles": 0, "turned_faces": False}
# For a slow machine, which has many requests waiting.
LIMITS = {"timeout_s": TIMEOUT_S, "max_queue_wait_s": TIMEOUT_S / 2}
SMALL = {"ray_actor_options": {"num_cpus": 0.05}, "max_ongoing_requests": 320}
SCALED = {
    "name": "scaled",
    "route_prefix": "/scaled",
    "import_path": "graph.app:build_app",
    "args": {
        "detector": DETECTOR,
        "request_limits": LIMITS,
        "recognizers": {
            "busy": {},
            "waits": {"cold_start": "wait"},
            "rejects": {"cold_start": "reject"},
        },
    },
    "deployments": [
        {"name": name, **SMALL, **options}
        for name, options in {
            "Ingress": {},
            "Detector": {},
            "Aligner": {"autoscaling_config": ONE_TO_THREE | {"target_ongoing_requests": 32}},
            "Recognizer:busy": {
                "autoscaling_config": ONE_TO_THREE | {"target_ongoing_requests": 1}
            },
            "Recognizer:waits": {"autoscaling_config": NONE_TO_ONE},
            "Recognizer:rejects": {"autoscaling_config": NONE_TO_ONE},
            "Aggregator": {},
        }.items()
    ],
}
# One policy for all stages. Its utilisation is a twentieth, so that any load exceeds it.
SIZED = {
    "name": "sized",
    "route_prefix": "/sized",
    "import_path": "graph.app:build_app",
    "args": {"detector": DETECTOR, "request_limits": LIMITS},
    "autoscaling_policy": {
        "policy_function": "graph.autoscaling:LittlesLaw",
        "policy_kwargs": {"utilisation": 0.05, "arrivals_window_s": 1.0},
    },
    "deployments": [
        {
            "name": name,
            **SMALL,
            "autoscaling_config": QUICK | {"min_replicas": 1, "max_replicas": maximum},
        }
        for name, maximum in {
            "Ingress": 1,
            "Detector": 2,
            "Aligner": 1,
            "Recognizer:arcface": 2,
            "Aggregator": 2,
        }.items()
    ],
}


@pytest.fixture(scope="module")
def url(running: RunningGraph) -> Iterator[str]:
    with added(running, SCALED, SIZED):
        yield running.url


@pytest.fixture(scope="module")
def scaled(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{url}/scaled", timeout=TIMEOUT_S) as client:
        yield client


@pytest.fixture(scope="module")
def sized(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{url}/sized", timeout=TIMEOUT_S) as client:
        yield client


def replicas(client: httpx.Client) -> dict[str, int]:
    answer = client.get("/v1/models")
    assert answer.status_code == 200, answer.text
    models = answer.json()["models"]
    return {model["pool"] or model["stage"]: model["replicas"] for model in models}


@contextmanager
def load(client: httpx.Client) -> Iterator[None]:
    """Eight concurrent clients that compare two photos; asserts that every answer is 200."""
    files = {"source": photo_bytes(YAOMING), "target": photo_bytes(PLAYERS)}
    compare = partial(client.post, "/v1/compare", files=files, data={"faces": "all"})

    async def send(number: int, turn: int) -> Outcome:
        return Outcome((await asyncio.to_thread(compare)).status_code)

    clients = Load(send)
    with clients.in_background(8):
        yield
    assert {one.outcome.status for one in clients.sent} == {200}


def embed(client: httpx.Client, pool: str) -> httpx.Response:
    files = {"image": photo_bytes(YAOMING)}
    return client.post("/v1/embed", files=files, data={"recognizers": pool})


def test_a_pool_grows_under_load_while_the_aligner_stays_and_then_shrinks_back(
    scaled: httpx.Client,
) -> None:
    """The photo's many faces take the recognizer much longer than the stages before it."""
    aligners: set[int] = set()

    def grown() -> bool:
        now = replicas(scaled)
        aligners.add(now["aligner"])
        return now["busy"] == 3

    assert replicas(scaled)["busy"] == 1
    with load(scaled):
        wait_until(grown)
    assert aligners == {1}
    wait_until(lambda: replicas(scaled)["busy"] == 1)


def test_one_policy_sizes_each_stage_by_its_work(sized: httpx.Client) -> None:
    """The aggregator computes next to nothing; the other stages have work for two replicas."""
    aggregators: set[int] = set()

    def grown() -> bool:
        now = replicas(sized)
        aggregators.add(now["aggregator"])
        return now["detector"] == now["arcface"] == 2

    before = replicas(sized)
    assert before["detector"] == before["arcface"] == 1
    with load(sized):
        wait_until(grown)
    assert aggregators == {1}
    wait_until(lambda: replicas(sized) == before)


def test_a_pool_without_replicas_is_neither_started_by_probes_nor_reported_unready(
    scaled: httpx.Client,
) -> None:
    wait_until(lambda: replicas(scaled)["waits"] == 0)
    with ThreadPoolExecutor(8) as threads:
        answers = threads.map(lambda _: scaled.get("/v1/models"), range(64))
    for answer in answers:
        assert answer.status_code == 200, answer.text
        [pool] = [model for model in answer.json()["models"] if model["pool"] == "waits"]
        assert (pool["replicas"], pool["available"], pool["unavailable_reason"]) == (0, True, None)
    assert "waits" not in unready(scaled)


def test_a_request_that_waits_for_a_cold_start_keeps_its_deadline(
    running: RunningGraph, scaled: httpx.Client
) -> None:
    stages = stages_of("scaled", pool="waits")
    limits = {"timeout_s": 0.5}
    config = GraphConfig.model_validate({"recognizers": {"waits": {}}, "request_limits": limits})
    wait_until(lambda: replicas(scaled)["waits"] == 0)
    with pytest.raises(DeadlineExceeded):
        asyncio.run(
            Pipeline(config, stages).embed(Photo("image", photo_bytes(YAOMING)), EmbedOptions())
        )


def test_the_first_request_of_a_pool_waits_for_its_cold_start(
    scaled: httpx.Client,
) -> None:
    wait_until(lambda: replicas(scaled)["waits"] == 0)
    answer = embed(scaled, "waits")
    assert answer.status_code == 200
    assert list(answer.json()["faces"][0]["embeddings"]) == ["waits"]
    wait_until(lambda: replicas(scaled)["waits"] == 0)


def test_a_pool_that_rejects_at_cold_start_answers_retry_after_and_starts(
    scaled: httpx.Client,
) -> None:
    wait_until(lambda: replicas(scaled)["rejects"] == 0)
    answer = embed(scaled, "rejects")
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "model_unavailable"
    assert answer.json()["error"]["details"] == {"pool": "rejects"}
    assert answer.headers["retry-after"] == "1"
    assert embed(scaled, "busy").status_code == 200

    def awake() -> bool:
        assert "rejects" not in unready(scaled)
        return embed(scaled, "rejects").status_code == 200

    wait_until(awake)
