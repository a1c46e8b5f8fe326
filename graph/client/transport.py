"""The calls of a client, and the protocol of the transports that send them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from pydantic import BaseModel

from deployments.contracts import Photo

Answer = TypeVar("Answer", bound=BaseModel)


@dataclass(frozen=True)
class Call(Generic[Answer]):
    """A call of the ingress's method `name`, or of its route /v1/`name`.

    answer: schema of the answer. photos: with photos the route is a POST, else a GET.
    """

    name: str
    answer: type[Answer]
    photos: tuple[Photo, ...] = ()
    options: BaseModel | None = None


@dataclass(frozen=True)
class GalleryCall(Call[Answer]):
    """A call about galleries: of the ingress's method `gallery`, or of a route of its own.

    method, path: the route's; the path's parameters are options.
    """

    method: str = "GET"
    path: str = ""


class Transport(Protocol):
    """A way to a running graph. Raises the errors of `deployments.errors`."""

    def send(self, call: Call[Answer]) -> Answer: ...

    async def send_async(self, call: Call[Answer]) -> Answer: ...

    def stream(self, call: GalleryCall[Any]) -> Iterator[bytes]:
        """The answer of a call in pieces. It is not sent again if the server is lost."""
        ...

    def close(self) -> None: ...

    async def close_async(self) -> None: ...
