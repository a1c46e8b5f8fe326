"""What of a request's objects the ingress reads, and that none is left when it is answered."""

import asyncio
import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import ray

from graph.cluster.launch import RunningGraph
from tests.support.faults import replicas
from tests.support.photos import GDP, PLAYERS, YAOMING, photo_bytes
from tests.support.ray_private import SERVE_NAMESPACE, referenced_objects
from tests.support.waiting import TIMEOUT_S, wait_until

CONTRACTS = "deployments.contracts"
# What the stages pass on to one another.
PASSED_ON = {"DetectedPhoto", "FaceCrop", "FaceChips", "Embeddings"}
REQUESTS = 24
STAGES = ("Ingress", "Detector", "Aligner", "Recognizer:arcface", "Aggregator")


def in_processes(app_name: str, deployment: str, function: Callable[[Any], Any]) -> list[Any]:
    """The results of a function in each replica of a deployment."""
    actors: list[Any] = [
        ray.get_actor(one.name, namespace=SERVE_NAMESPACE) for one in replicas(deployment, app_name)
    ]
    return ray.get([actor.__ray_call__.remote(function) for actor in actors])


def watch_unpickling(replica: Any) -> None:
    """Write down the classes of FaceGraph's that this process unpickles from now on."""
    found: set[str] = set()

    def note(event: str, args: tuple[Any, ...]) -> None:
        if event == "pickle.find_class" and args[0] == CONTRACTS:
            found.add(args[1])

    sys.addaudithook(note)
    replica.unpickled = found


def unpickled(replica: Any) -> set[str]:
    """The classes since the last call of this function, whose first call starts the watch."""
    if not hasattr(replica, "unpickled"):
        watch_unpickling(replica)
    found: set[str] = replica.unpickled.copy()
    replica.unpickled.clear()
    return found


@pytest.fixture(scope="module")
def watched(running: RunningGraph) -> Callable[[], set[str]]:
    """Returns the classes that the replicas of the ingress have unpickled since the last call."""

    def seen() -> set[str]:
        return set().union(*in_processes(running.app_name, "Ingress", unpickled))

    return seen


@contextmanager
def gallery(http: httpx.Client) -> Iterator[str]:
    path = "/v1/galleries/passing-by"
    assert http.put(path, json={}).status_code in (200, 201)
    try:
        yield path
    finally:
        http.delete(path)


def test_no_crop_chip_or_embedding_of_a_comparison_or_search_is_read_by_the_ingress(
    http: httpx.Client, watched: Callable[[], set[str]]
) -> None:
    watched()
    pair = {"source": photo_bytes(GDP), "target": photo_bytes(PLAYERS)}
    assert http.post("/v1/compare", files=pair, data={"faces": "all"}).status_code == 200
    assert "Comparison" in watched()  # what it does read is seen
    with gallery(http) as path:
        watched()
        found = http.post(f"{path}/search", files={"image": photo_bytes(GDP)})
        assert found.status_code == 200
        assert not watched() & PASSED_ON
    assert http.post("/v1/compare", files=pair, data={"faces": "all"}).status_code == 200
    assert not watched() & PASSED_ON
    assert http.post("/v1/embed", files={"image": photo_bytes(GDP)}).status_code == 200
    assert watched() & PASSED_ON == {"Embeddings"}  # its answer


def collect(replica: Any) -> None:
    """Serve's own futures keep references until the next garbage collection."""
    gc.collect()


def test_requests_leave_the_object_store_as_it_was(running: RunningGraph) -> None:
    """Whether answered, refused or left, alone or in groups."""
    pair = {"source": photo_bytes(GDP), "target": photo_bytes(YAOMING)}
    broken = {"source": photo_bytes(GDP), "target": b"no image"}

    async def burst() -> None:
        async with httpx.AsyncClient(base_url=running.url, timeout=TIMEOUT_S) as client:
            sent = [
                asyncio.ensure_future(
                    client.post(
                        "/v1/compare",
                        files=broken if number % 4 == 3 else pair,
                        data={"faces": "all"},
                    )
                )
                for number in range(REQUESTS)
            ]
            await sent[0]
            for one in sent[-4:]:
                one.cancel()
            await asyncio.gather(*sent, return_exceptions=True)

    def held() -> int:
        """References of the graph's processes; Serve's own come and go, but stay as many."""
        in_processes(running.app_name, "Ingress", collect)
        pids = {one.pid for name in STAGES for one in replicas(name, running.app_name)}
        return sum(one.pid in pids for one in referenced_objects())

    before = max(held() for _ in range(3))
    asyncio.run(burst())
    wait_until(lambda: held() <= before, message=lambda: f"{held()} references, {before} before")
