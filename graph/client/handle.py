"""Calls by Serve handle, from a process on the graph's Ray cluster."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ray import serve
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from deployments.errors import ModelUnavailable
from graph.client.cluster import join_cluster, quiet_ray
from graph.client.retries import Retries, TryAgain
from graph.client.transport import Answer, Call, GalleryCall
from graph.pipeline.failures import as_facegraph_error, cancel, is_lost
from graph.serve_private import for_any_thread

# An ingress replica may die while it answers a call; another replica then takes the call.
_RETRIES = 2


class HandleTransport:
    """Transport to an application's ingress, by its Serve handle."""

    def __init__(self, handle: DeploymentHandle[Any]) -> None:
        self._handle = handle
        self._retries = Retries(_RETRIES)

    @classmethod
    def connect(cls, app_name: str, *, address: str) -> "HandleTransport":
        """Raises ModelUnavailable as `join_cluster`, and if the application is not there."""
        join_cluster(address)
        try:
            with quiet_ray():
                return cls(for_any_thread(serve.get_app_handle(app_name)))
        except RayServeException as error:
            raise ModelUnavailable(f"no graph {app_name!r} to connect to: {error}") from error

    def send(self, call: Call[Answer]) -> Answer:
        def attempt() -> Answer:
            with _errors_translated():
                answer: Answer = self._remote(call).result()
                return answer

        return self._retries.call(attempt)

    async def send_async(self, call: Call[Answer]) -> Answer:
        async def attempt() -> Answer:
            with _errors_translated():
                response = self._remote(call)
                try:
                    answer: Answer = await response
                    return answer
                except asyncio.CancelledError:
                    cancel(response)
                    raise

        return await self._retries.call_async(attempt)

    def stream(self, call: GalleryCall[Any]) -> Iterator[bytes]:
        with _errors_raised():
            streaming: Any = self._handle.options(stream=True)
            yield from streaming.stream_gallery.remote(call.name, call.options)

    def close(self) -> None:
        """Do nothing: the whole process stays in the cluster."""

    async def close_async(self) -> None:
        """Do nothing, as `close`."""

    def _remote(self, call: Call[Any]) -> Any:
        if isinstance(call, GalleryCall):
            return self._handle.gallery.remote(call.name, call.options, call.photos)
        options = () if call.options is None else (call.options,)
        return getattr(self._handle, call.name).remote(*call.photos, *options)


@contextmanager
def _errors_raised() -> Iterator[None]:
    """Raise FaceGraph's errors in place of Ray's."""
    try:
        yield
    except Exception as error:
        raise as_facegraph_error(error) or error from None


@contextmanager
def _errors_translated() -> Iterator[None]:
    """Raise FaceGraph's errors in place of Ray's, in a TryAgain if a replica was lost."""
    try:
        yield
    except Exception as error:
        translated = as_facegraph_error(error) or error
        raise (TryAgain(translated) if is_lost(error) else translated) from None
