"""A call of the graph, and the protocol of the transports that send it."""

from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from pydantic import BaseModel

from deployments.contracts import Photo

Answer = TypeVar("Answer", bound=BaseModel)


@dataclass(frozen=True)
class Call(Generic[Answer]):
    """A method of the graph's ingress; its route is /v1/`name`, a POST if there are photos."""

    name: str
    answer: type[Answer]
    photos: tuple[Photo, ...] = ()
    options: BaseModel | None = None


class Transport(Protocol):
    """Sends calls to a running graph. Raises the errors of `deployments.errors`."""

    def send(self, call: Call[Answer]) -> Answer: ...

    async def send_async(self, call: Call[Answer]) -> Answer: ...

    def close(self) -> None: ...

    async def close_async(self) -> None: ...
