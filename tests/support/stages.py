"""The stages of a running graph, by handles that may record every call sent through them."""

from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from ray import serve
from ray.serve.handle import DeploymentHandle, DeploymentResponse

from deployments.contracts import Photo
from deployments.replica.groups import joined
from graph.pipeline.stages import Stages


@dataclass(frozen=True)
class SentCall:
    """One call of a stage's method."""

    method: str
    args: tuple[Any, ...]

    @property
    def requests(self) -> Sequence[Sequence[Photo]]:
        """The photos of each request in a call of the detector."""
        found: Sequence[Sequence[Photo]] = joined(self.args)
        return found

    @property
    def is_inline(self) -> bool:
        """True if the photos of a call of the detector travel in the call itself."""
        return isinstance(self.args[0], bytes)


@dataclass
class CallRecord:
    """All calls in the order in which they were sent."""

    calls: list[SentCall] = field(default_factory=list)

    def of(self, *methods: str) -> list[SentCall]:
        return [call for call in self.calls if call.method in methods]

    def groups(self) -> list[int]:
        """The requests of each group, by the calls of the detector."""
        return [len(call.requests) for call in self.of("detect")]


# Waits until an answer may arrive.
Delay = Callable[[], Awaitable[None]]


class SlowResponse:
    """A response that its caller sees after a delay. The next stage gets it at once."""

    def __init__(self, response: DeploymentResponse[Any], delay: Delay) -> None:
        self.response, self._delay = response, delay

    def __await__(self) -> Generator[Any, None, Any]:
        return self._delayed().__await__()

    async def _delayed(self) -> Any:
        await self._delay()
        return await self.response

    async def _to_object_ref(self) -> Any:
        await self._delay()
        return await self.response._to_object_ref()

    def cancel(self) -> None:
        self.response.cancel()


@dataclass(frozen=True)
class RecordedMethod:
    remote: Callable[..., Any]


class RecordingHandle:
    """A DeploymentHandle that records its calls and may delay their answers."""

    def __init__(
        self, handle: DeploymentHandle[Any], record: CallRecord, delays: Mapping[str, Delay]
    ) -> None:
        self._handle, self._record, self._delays = handle, record, delays
        self.deployment_id = handle.deployment_id

    def options(self, **options: Any) -> "RecordingHandle":
        return RecordingHandle(self._handle.options(**options), self._record, self._delays)

    def __getattr__(self, method: str) -> RecordedMethod:
        return RecordedMethod(partial(self._send, method, getattr(self._handle, method)))

    def _send(self, name: str, method: Any, *args: Any, **kwargs: Any) -> Any:
        self._record.calls.append(SentCall(name, args))
        sent = [arg.response if isinstance(arg, SlowResponse) else arg for arg in args]
        response = method.remote(*sent, **kwargs)
        delay = self._delays.get(name)
        return SlowResponse(response, delay) if delay else response


def stages_of(app_name: str, *, pool: str = "arcface") -> Stages:
    """The stages of an application, with one of its recognizer pools."""

    def handle(deployment: str) -> Any:
        return serve.get_deployment_handle(deployment, app_name)

    recognizers = {pool: handle(f"Recognizer:{pool}")}
    return Stages(handle("Detector"), handle("Aligner"), recognizers, handle("Aggregator"))


def recorded(
    stages: Stages, record: CallRecord, delays: Mapping[str, Delay] | None = None
) -> Stages:
    """The same stages, recorded. delays: by method."""

    def recording(handle: DeploymentHandle[Any]) -> Any:
        return RecordingHandle(handle, record, delays or {})

    return Stages(
        recording(stages.detector),
        recording(stages.aligner),
        {name: recording(handle) for name, handle in stages.recognizers.items()},
        recording(stages.aggregator),
    )
