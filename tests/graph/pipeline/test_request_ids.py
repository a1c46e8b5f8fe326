"""One request id from the client's header to the log of the last stage."""

import asyncio
import json
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from configs.calls import CallsConfig
from configs.graph import GraphConfig
from deployments.contracts import Photo
from deployments.replica.deadline import Deadline
from graph.cluster.launch import RunningGraph
from graph.pipeline.retries import Retries
from graph.pipeline.shared_calls import SharedCalls
from graph.serve_private import current_request_id, set_request_id
from tests.support.ray_private import logs_folder
from tests.support.stages import stages_of
from tests.support.waiting import TIMEOUT_S


def logged(deployment: str) -> Iterator[dict[str, Any]]:
    """The log lines of a deployment's replicas."""
    for file in (logs_folder() / "serve").glob(f"replica_facegraph_{deployment}_*.log"):
        for line in file.read_text().splitlines():
            if line.startswith("{"):
                yield json.loads(line)


def request_ids(deployment: str, wanted: set[str]) -> set[str]:
    """The wanted ids in the deployment's log: all of them, or those that it has in the end."""
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        found = {str(line.get("request_id")) for line in logged(deployment)} & wanted
        if found == wanted or time.monotonic() > deadline:
            return found
        time.sleep(0.2)


@pytest.mark.parametrize("request_id", ["client-1:a/b", "A" * 128])
def test_a_clients_id_is_in_the_answer_the_ingress_and_a_stages_log(
    http: httpx.Client, request_id: str
) -> None:
    headers = {"x-request-id": request_id}
    answer = http.post("/v1/detect", files={"image": b"no image"}, headers=headers)
    assert answer.json()["request_id"] == request_id
    assert answer.headers["x-request-id"] == request_id
    assert request_ids("Ingress", {request_id}) == {request_id}
    assert request_ids("Detector", {request_id}) == {request_id}


@pytest.mark.parametrize("request_id", ["", "two words", "A" * 129])
def test_an_id_that_is_not_safe_in_a_log_is_replaced(http: httpx.Client, request_id: str) -> None:
    headers = {"x-request-id": request_id}
    answer = http.post("/v1/detect", files={"image": b"no image"}, headers=headers)
    given = answer.json()["request_id"]
    assert given == answer.headers["x-request-id"]
    assert given != request_id
    assert len(given) == 36
    assert request_ids("Detector", {given}) == {given}


def test_a_shared_call_carries_the_ids_of_all_its_requests(running: RunningGraph) -> None:
    config = GraphConfig(calls=CallsConfig(max_requests_per_call=3))
    calls = SharedCalls(config, stages_of(running.app_name), Retries(config.retries))
    content: Any = SimpleNamespace(nbytes=1)  # on which the detector fails, unlike on a broken file

    async def one(request_id: str) -> Any:
        set_request_id(request_id)
        assert current_request_id() == request_id
        return await calls.detect([Photo("image", content)], Deadline())

    async def burst() -> list[Any]:
        ids = [f"shared-{number}" for number in range(3)]
        return await asyncio.gather(*map(one, ids), return_exceptions=True)

    assert all(isinstance(error, Exception) for error in asyncio.run(burst()))
    wanted = {"shared-0,shared-1,shared-2", "shared-0", "shared-1", "shared-2"}
    assert request_ids("Detector", wanted) == wanted
