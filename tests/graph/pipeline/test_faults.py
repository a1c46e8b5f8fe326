"""Parts of a running graph fail under load, and no client notices."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from typing import Any, Protocol

import httpx
import pytest
import ray
from ray import serve

from configs.calls import CallsConfig, RetryConfig
from configs.graph import GraphConfig
from configs.limits import RequestLimits
from deployments.contracts import Photo
from deployments.errors import DeadlineExceeded
from deployments.replica.groups import in_parts
from graph.client.client import FaceGraph
from graph.cluster.launch import RunningGraph, deploy
from graph.pipeline.pipeline import Pipeline
from graph.pipeline.replicas import routers_of
from graph.schemas import CompareOptions
from tests.graph.pipeline.test_metrics import growth, scrape
from tests.support.applications import added
from tests.support.faults import Replica, one_replica, replicas
from tests.support.load import Load, Outcome
from tests.support.photos import GDP, PLAYERS, YAOMING, photo_bytes
from tests.support.ray_private import SERVE_NAMESPACE
from tests.support.stages import CallRecord, recorded, stages_of
from tests.support.waiting import TIMEOUT_S, wait_until, wait_until_async

pytestmark = pytest.mark.timing

STAGES = ("Detector", "Aligner", "Recognizer:arcface", "Aggregator")
PAIRS = ((YAOMING, YAOMING), (YAOMING, GDP), (GDP, YAOMING))
MAX_CONCURRENT = 8
OPTIONS = {
    "ray_actor_options": {"num_cpus": 0.05},
    "max_ongoing_requests": 100,
    "health_check_period_s": 1.0,
    "health_check_timeout_s": 3.0,
}
FAULTY = {
    "name": "faulty",
    "route_prefix": "/faulty",
    "import_path": "graph.app:build_app",
    "args": {
        "request_limits": {"max_concurrent": MAX_CONCURRENT, "timeout_s": 60, "retry_after_s": 2},
        "retries": {"hedge_after_s": 3},
    },
    "deployments": [
        {"name": name, "num_replicas": count, **OPTIONS}
        for name, count in {"Ingress": 2, "Detector": 2, **dict.fromkeys(STAGES[1:], 1)}.items()
    ],
}


@pytest.fixture(scope="module")
def faulty(running: RunningGraph) -> Iterator[RunningGraph]:
    with added(running, FAULTY) as graph:
        yield graph


class Clients:
    """Clients that compare in a loop; every answer is checked."""

    def __init__(self, clients: Sequence[FaceGraph]) -> None:
        self._clients = clients
        self._photos = {name: photo_bytes(name) for name in (YAOMING, GDP)}
        self._right = {pair: self._similarity(clients[0], pair) for pair in PAIRS}
        self._load = Load(self._send)

    @contextmanager
    def running(self) -> Iterator[None]:
        with self._load.in_background(len(self._clients)):
            yield

    @contextmanager
    def unharmed(self) -> Iterator[None]:
        """Asserts that every client has right answers before, during and after the block."""
        with self.running():
            self.wait_for_answers()
            yield
            self.wait_for_answers()
        assert self.failures == []

    def wait_for_answers(self) -> None:
        """Return once the clients have had two further answers each, on average."""
        wanted = self._answered + 2 * len(self._clients)
        wait_until(lambda: self._answered >= wanted or bool(self.failures))

    @property
    def failures(self) -> list[str]:
        return [one.outcome.failure for one in self._load.sent if not one.outcome.right]

    @property
    def _answered(self) -> int:
        return sum(one.outcome.status == 200 for one in self._load.sent)

    async def _send(self, client: int, turn: int) -> Outcome:
        pair = PAIRS[turn % len(PAIRS)]
        try:
            similarity = await asyncio.to_thread(self._similarity, self._clients[client], pair)
        except Exception as error:
            return Outcome(0, right=False, failure=repr(error))
        right = similarity == pytest.approx(self._right[pair], abs=0.02)
        return Outcome(200, right, failure="" if right else f"{pair}: {similarity}")

    def _similarity(self, client: FaceGraph, pair: tuple[str, str]) -> float:
        return client.compare(*(self._photos[name] for name in pair)).similarity


def wait_until_replaced(deployment: str, lost: str) -> None:
    count = len(replicas(deployment, "faulty"))

    def replaced() -> bool:
        names = [one.name for one in replicas(deployment, "faulty")]
        return lost not in names and len(names) >= count

    wait_until(replaced)


@pytest.fixture
def clients(faulty: RunningGraph) -> Iterator[Clients]:
    """Clients without retries: the graph's own retries must lose nothing."""
    with ExitStack() as stack:
        yield Clients([opened(stack, faulty, retries=0) for _ in range(6)])


def opened(stack: ExitStack, faulty: RunningGraph, *, retries: int = 3) -> FaceGraph:
    return stack.enter_context(FaceGraph.over_http(faulty.url, retries=retries))


def test_no_request_is_lost_when_a_replica_of_a_stage_dies(clients: Clients) -> None:
    lost = {deployment: one_replica(deployment, "faulty") for deployment in STAGES}
    with clients.running():
        for replica in lost.values():
            clients.wait_for_answers()
            replica.kill()
        for deployment, replica in lost.items():
            wait_until_replaced(deployment, replica.name)
        clients.wait_for_answers()
    assert clients.failures == []


def test_a_group_in_whose_midst_its_replica_dies_is_answered_from_each_photo_again(
    faulty: RunningGraph,
) -> None:
    record, man = CallRecord(), photo_bytes(YAOMING)
    stages = recorded(stages_of("faulty"), record)
    pipeline = Pipeline(
        GraphConfig(
            calls=CallsConfig(max_requests_per_call=4),
            retries=RetryConfig(hedge_after_s=TIMEOUT_S),
            request_limits=RequestLimits(timeout_s=TIMEOUT_S),
        ),
        stages,
    )

    async def compared() -> bool | None:
        photos = Photo("source", man), Photo("target", man)
        return (await pipeline.compare(*photos, CompareOptions())).matched

    def at_work() -> list[Replica]:
        """The replicas of the detector that have a call of this process."""
        busy = [
            replica_id.unique_id
            for router in routers_of(stages.detector)
            for replica_id in router.curr_replicas
            if router.replica_queue_len_cache.get(replica_id)
        ]
        found = replicas("Detector", "faulty")
        return [one for one in found if any(one.name.endswith(unique) for unique in busy)]

    async def group() -> list[bool | None]:
        assert await compared()  # this process knows the replicas
        with ExitStack() as stopped:
            for one in replicas("Detector", "faulty"):
                stopped.enter_context(one.stopped())
            answers = asyncio.gather(*[compared() for _ in range(3)])
            await wait_until_async(lambda: bool(at_work()))
            [lost] = at_work()
            lost.kill()
        return await answers

    assert asyncio.run(group()) == [True] * 3
    assert record.groups() == [1, 3, 1, 1, 1]


def test_clients_that_retry_lose_nothing_when_an_ingress_replica_dies(
    faulty: RunningGraph,
) -> None:
    with ExitStack() as stack:
        by_http = [opened(stack, faulty) for _ in range(3)]
        clients = Clients([*by_http, *[FaceGraph.connect("faulty")] * 3])
        with clients.unharmed():
            lost = one_replica("Ingress", "faulty")
            lost.kill()
            wait_until_replaced("Ingress", lost.name)


def test_requests_at_a_replica_that_hangs_are_answered_by_another(clients: Clients) -> None:
    sent_again, before = ("calls_sent_again_total", "silent"), scrape("faulty")
    with clients.unharmed():
        hung = one_replica("Detector", "faulty")
        with hung.stopped():
            clients.wait_for_answers()  # long before Serve notices that it hangs and replaces it
            wait_until_replaced("Detector", hung.name)
    grown = growth(before, until=lambda now: now[sent_again] > 0, application="faulty")
    assert grown[sent_again] > 0


def test_a_replica_whose_canary_fails_is_replaced_and_loses_nothing(clients: Clients) -> None:
    with clients.unharmed():
        sick = one_replica("Recognizer:arcface", "faulty")
        sick.fail_health_checks()
        wait_until_replaced("Recognizer:arcface", sick.name)


def test_a_redeployment_with_another_configuration_loses_nothing(faulty: RunningGraph) -> None:
    """Clients retry: a stopping ingress replica accepts requests for half a second here, in the
    profiles for 5 s."""
    content = deepcopy(faulty.content)
    content["applications"][0]["args"]["recognizers"] = {"arcface": {"threshold": 0.111}}
    with ExitStack() as stack:
        clients = [opened(stack, faulty) for _ in range(4)]
        with Clients(clients).unharmed():
            deploy(content, timeout_s=TIMEOUT_S)
            wait_until(lambda: _threshold(clients[0]) == 0.111)


def _threshold(client: FaceGraph) -> float | None:
    (pool,) = [model for model in client.models().models if model.pool == "arcface"]
    return pool.threshold


def test_one_bad_image_among_many_fails_alone(faulty: RunningGraph) -> None:
    good, bad = photo_bytes(YAOMING), photo_bytes(YAOMING)[:3000]

    async def embed(images: Sequence[bytes]) -> list[httpx.Response]:
        async with httpx.AsyncClient(timeout=TIMEOUT_S) as client:
            calls = [
                client.post(f"{faulty.url}/v1/embed", files={"image": image}) for image in images
            ]
            return await asyncio.gather(*calls)

    images = [good, bad, good, good, bad, good] * 2
    for image, answer in zip(images, asyncio.run(embed(images)), strict=True):
        assert answer.status_code == (200 if image is good else 422), answer.text


def test_over_capacity_some_are_refused_with_retry_after_and_the_rest_are_answered(
    faulty: RunningGraph,
) -> None:
    async def burst(count: int) -> list[httpx.Response]:
        files = {"source": photo_bytes(YAOMING), "target": photo_bytes(GDP)}
        limits = httpx.Limits(max_connections=count)
        async with httpx.AsyncClient(timeout=TIMEOUT_S, limits=limits) as client:
            calls = [client.post(f"{faulty.url}/v1/compare", files=files) for _ in range(count)]
            return await asyncio.gather(*calls)

    answers = asyncio.run(burst(10 * 2 * MAX_CONCURRENT))
    refused = [answer for answer in answers if answer.status_code == 503]
    accepted = [answer for answer in answers if answer.status_code == 200]
    assert len(refused) + len(accepted) == len(answers)
    assert refused
    assert len(accepted) >= MAX_CONCURRENT
    assert {answer.headers["retry-after"] for answer in refused} == {"2"}
    assert {answer.json()["error"]["code"] for answer in refused} == {"overloaded"}
    (again,) = asyncio.run(burst(1))
    assert again.status_code == 200


def test_stages_do_not_start_work_after_its_deadline(faulty: RunningGraph) -> None:
    detector: Any = serve.get_deployment_handle("Detector", "faulty")

    def detected(photo: Photo) -> Any:
        parts = in_parts([[photo]])
        return detector.detect.remote(*parts, crops=True).result(timeout_s=TIMEOUT_S)

    for seconds in (0.0, -5.0):
        late = Photo("image", photo_bytes(YAOMING), time_left_s=seconds)
        [slot] = detected(late)
        assert isinstance(slot, DeadlineExceeded)
    [[found]] = detected(Photo("image", photo_bytes(YAOMING), time_left_s=50.0))
    assert 0 < found.time_left_s < 50


def ongoing(deployment: str) -> int:
    """Number of calls in flight at the deployment's replicas."""
    actors = [
        ray.get_actor(one.name, namespace=SERVE_NAMESPACE) for one in replicas(deployment, "faulty")
    ]
    return sum(ray.get([actor.get_num_ongoing_requests.remote() for actor in actors]))


def idle_s() -> float:
    """Wait until every stage is idle. Return the seconds that it took."""
    began = time.monotonic()
    wait_until(lambda: sum(map(ongoing, STAGES)) == 0)
    return time.monotonic() - began


async def sent_and_left(requests: Sequence[Any], *, leave: bool) -> None:
    """Wait for the requests, or cancel them once the detector works on half of them."""
    tasks = [asyncio.ensure_future(one) for one in requests]
    if leave:
        started = len(tasks) // 2
        await asyncio.to_thread(wait_until, lambda: ongoing("Detector") >= started)
        for task in tasks:
            task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class Compare(Protocol):
    async def __call__(self, *, leave: bool) -> None: ...


def require_freed(compare: Compare) -> None:
    """Assert that cancelled requests occupy the stages for less than half of the full time."""
    began = time.monotonic()
    asyncio.run(compare(leave=False))
    all_answered_s = time.monotonic() - began
    asyncio.run(compare(leave=True))
    assert idle_s() < all_answered_s / 2


def test_a_client_that_disconnects_frees_its_work(faulty: RunningGraph) -> None:
    files = {"source": photo_bytes(PLAYERS), "target": photo_bytes(PLAYERS)}

    async def compare(*, leave: bool) -> None:
        async with httpx.AsyncClient(timeout=TIMEOUT_S) as client:
            url = f"{faulty.url}/v1/compare"
            calls = [
                client.post(url, files=files, data={"faces": "all"}) for _ in range(MAX_CONCURRENT)
            ]
            await sent_and_left(calls, leave=leave)

    require_freed(compare)


def test_a_cancelled_caller_frees_its_work(faulty: RunningGraph) -> None:
    stages = stages_of("faulty")
    players, everyone = photo_bytes(PLAYERS), CompareOptions(faces="all")

    async def compare(*, leave: bool) -> None:
        pipeline = Pipeline(GraphConfig(), stages)
        photos = Photo("source", players), Photo("target", players)
        calls = [pipeline.compare(*photos, everyone) for _ in range(MAX_CONCURRENT)]
        await sent_and_left(calls, leave=leave)

    require_freed(compare)
