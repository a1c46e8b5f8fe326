"""What of a request's objects the ingress reads, and that none is left when it is answered."""

import asyncio
import gc
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
import pytest
import ray

from graph.cluster.launch import RunningGraph
from tests.support.faults import replicas
from tests.support.held_objects import Held, objects_during
from tests.support.photos import FEW_PLAYERS, GDP, YAOMING, photo_bytes
from tests.support.ray_private import SERVE_NAMESPACE, referenced_objects
from tests.support.waiting import TIMEOUT_S, wait_until

CONTRACTS = "deployments.contracts"
# What the stages pass on to one another.
PASSED_ON = {"DetectedPhoto", "FaceCrop", "FaceChips", "Embeddings"}
REQUESTS = 24
IN_MESSAGES = 100 * 1024  # Ray carries objects of up to so many bytes in its messages
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
    pair = {"source": photo_bytes(GDP), "target": photo_bytes(FEW_PLAYERS)}
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


def references(running: RunningGraph) -> int:
    """References of the graph's processes; Serve's own come and go, but stay as many."""
    in_processes(running.app_name, "Ingress", collect)
    pids = stages_by_pid(running.app_name).keys()
    return sum(one.pid in pids for one in referenced_objects())


def stages_by_pid(app_name: str) -> dict[int, str]:
    return {one.pid: name for name in STAGES for one in replicas(name, app_name)}


@dataclass(frozen=True)
class Burst:
    """Requests sent at once. before: references before them. objects: those that they made."""

    before: int
    objects: list[Held]


@pytest.fixture(scope="module")
def burst(running: RunningGraph) -> Burst:
    """Requests that are answered, refused or left, alone or in groups."""
    pair = {"source": photo_bytes(GDP), "target": photo_bytes(YAOMING)}
    broken = {"source": photo_bytes(GDP), "target": b"no image"}

    async def send() -> None:
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

    before = max(references(running) for _ in range(3))
    names = stages_by_pid(running.app_name)
    objects = asyncio.run(objects_during(send, lambda pid: names.get(pid, "another")))
    return Burst(before, objects)


def test_the_ingress_has_references_to_what_the_stages_computed_and_never_its_bytes(
    burst: Burst,
) -> None:
    large = [one for one in burst.objects if one.size > IN_MESSAGES]
    assert large  # the answers to groups of requests
    assert all("Ingress" in one.referred for one in large)
    assert not any("Ingress" in one.pinned for one in large)


def test_a_process_with_an_objects_bytes_is_seen(running: RunningGraph) -> None:
    reference = ray.put(np.zeros(IN_MESSAGES + 1, np.uint8))
    kept = ray.get(reference)
    found = [one for one in referenced_objects() if one.object_id == reference.hex()]
    assert [(one.pid, one.pinned) for one in found] == [(os.getpid(), True)]
    assert found[0].size > len(kept)


def test_requests_leave_the_object_store_as_it_was(running: RunningGraph, burst: Burst) -> None:
    def held() -> int:
        return references(running)

    def message() -> str:
        return f"{held()} references, {burst.before} before"

    wait_until(lambda: held() <= burst.before, message=message)
