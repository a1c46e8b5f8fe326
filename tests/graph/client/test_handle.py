"""The handle client's errors and retries, with a stand-in for the handle."""

import asyncio
from collections.abc import Generator
from typing import Any

import pytest
from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError

from deployments.errors import FaceNotFound, ModelUnavailable, Overloaded
from graph.client.handle import HandleTransport
from graph.client.transport import Call
from graph.schemas import HealthResponse

CALL = Call("models", HealthResponse)
ANSWER = HealthResponse(status="ok")


class Handle:
    """An ingress that raises one error after the other, then answers."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0
        self.models = self

    def remote(self) -> "Handle":
        self.calls += 1
        return self

    def result(self) -> HealthResponse:
        if self.errors:
            raise self.errors.pop(0)
        return ANSWER

    def __await__(self) -> Generator[Any, None, HealthResponse]:
        yield from asyncio.sleep(0).__await__()
        return self.result()


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graph.client.retries._FIRST_WAIT_S", 0.0)


def send(handle: Any, *, later: bool) -> HealthResponse:
    transport = HandleTransport(handle)
    return asyncio.run(transport.send_async(CALL)) if later else transport.send(CALL)


@pytest.mark.parametrize("later", [False, True])
def test_a_call_that_a_lost_replica_took_is_sent_to_another(later: bool) -> None:
    handle = Handle(RayActorError(), RayActorError())
    assert send(handle, later=later) == ANSWER
    assert handle.calls == 3


@pytest.mark.parametrize("later", [False, True])
def test_a_graph_that_stays_lost_is_unavailable(later: bool) -> None:
    handle = Handle(*[RayActorError()] * 4)
    with pytest.raises(ModelUnavailable, match="a replica of the graph was lost"):
        send(handle, later=later)
    assert handle.calls == 3


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (FaceNotFound("image: no face found"), FaceNotFound),
        (BackPressureError(num_queued_requests=1, max_queued_requests=1), Overloaded),
        (KeyError("a bug"), KeyError),
    ],
)
def test_other_errors_are_raised_at_once(error: Exception, kind: type[Exception]) -> None:
    handle = Handle(error)
    with pytest.raises(kind):
        send(handle, later=False)
    assert handle.calls == 1
