"""The stages of a running graph, by handles that may record every call sent through them."""

from collections.abc import Awaitable, Callable, Generator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from ray import serve
from ray.serve.handle import DeploymentHandle, DeploymentResponse

from graph.pipeline.stages import Stages


@dataclass(frozen=True)
class SentCall:
    """One call of a stage's method. by_reference: it went through the object store."""

    method: str
    args: tuple[Any, ...]
    by_reference: bool


@dataclass
class CallRecord:
    """All calls in the order in which they were sent, and the methods of the delayed ones in the
    order of their answers."""

    calls: list[SentCall] = field(default_factory=list)
    answered: list[str] = field(default_factory=list)

    def of(self, *methods: str) -> list[SentCall]:
        return [call for call in self.calls if call.method in methods]

    def by_reference(self, *methods: str) -> list[bool]:
        """The mode of each call of these methods."""
        return [call.by_reference for call in self.of(*methods)]

    def sizes(self, method: str) -> list[int]:
        """The length of each call's first argument: requests, or `align`'s photos."""
        return [len(call.args[0]) for call in self.of(method)]


# Waits until an answer may arrive.
Delay = Callable[[], Awaitable[None]]


class SlowResponse:
    """A direct call's response that arrives after a delay."""

    def __init__(
        self, response: DeploymentResponse[Any], delay: Delay, on_answer: Callable[[], None]
    ) -> None:
        self._response, self._delay, self._on_answer = response, delay, on_answer

    def __await__(self) -> Generator[Any, None, Any]:
        return self._delayed().__await__()

    async def _delayed(self) -> Any:
        await self._delay()
        try:
            return await self._response
        finally:
            self._on_answer()

    def cancel(self) -> None:
        self._response.cancel()


@dataclass(frozen=True)
class RecordedMethod:
    remote: Callable[..., Any]


class RecordingHandle:
    """A DeploymentHandle that records its calls and may delay their answers."""

    def __init__(
        self,
        handle: DeploymentHandle[Any],
        record: CallRecord,
        delays: Mapping[str, Delay],
        *,
        by_reference: bool = False,
    ) -> None:
        self._handle, self._record, self._delays = handle, record, delays
        self._by_reference = by_reference
        self.deployment_id = handle.deployment_id

    def options(self, *, _by_reference: bool, **options: Any) -> "RecordingHandle":
        handle = self._handle.options(_by_reference=_by_reference, **options)
        return RecordingHandle(handle, self._record, self._delays, by_reference=_by_reference)

    def __getattr__(self, method: str) -> RecordedMethod:
        return RecordedMethod(partial(self._send, method, getattr(self._handle, method)))

    def _send(self, name: str, method: Any, *args: Any, **kwargs: Any) -> Any:
        self._record.calls.append(SentCall(name, args, self._by_reference))
        response = method.remote(*args, **kwargs)
        delay = self._delays.get(name)
        if not delay:
            return response
        return SlowResponse(response, delay, partial(self._record.answered.append, name))


def stages_of(app_name: str, *, pool: str = "arcface") -> Stages:
    """The stages of an application, with one of its recognizer pools."""

    def handle(deployment: str) -> Any:
        return serve.get_deployment_handle(deployment, app_name)

    recognizers = {pool: handle(f"Recognizer:{pool}")}
    return Stages(handle("Detector"), handle("Aligner"), recognizers, handle("Aggregator"))


def recorded(
    stages: Stages, record: CallRecord, delays: Mapping[str, Delay] | None = None
) -> Stages:
    """The same stages, recorded. delays: by method; only direct calls are delayed."""

    def recording(handle: DeploymentHandle[Any]) -> Any:
        return RecordingHandle(handle, record, delays or {})

    return Stages(
        recording(stages.detector),
        recording(stages.aligner),
        {name: recording(handle) for name, handle in stages.recognizers.items()},
        recording(stages.aggregator),
    )
