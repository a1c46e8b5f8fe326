"""Calls by Serve handle, from a process on the graph's Ray cluster."""

import asyncio
from typing import Any

import ray
from ray import serve
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle
from tenacity import AsyncRetrying, Retrying
from tenacity.retry import retry_if_exception
from tenacity.stop import stop_after_attempt
from tenacity.wait import wait_exponential

from deployments.errors import ModelUnavailable
from graph.client.transport import Answer, Call
from graph.pipeline.failures import as_facegraph_error, cancel, is_lost

# An ingress replica may die with a call that it took; asking another one harms nothing.
_ATTEMPTS: dict[str, Any] = {
    "retry": retry_if_exception(is_lost),
    "stop": stop_after_attempt(3),
    "wait": wait_exponential(multiplier=0.1),
    "reraise": True,
}


class HandleTransport:
    def __init__(self, handle: DeploymentHandle[Any]) -> None:
        self._handle = handle

    @classmethod
    def connect(cls, app_name: str, *, address: str) -> "HandleTransport":
        """Raises ModelUnavailable if there is no such cluster or application."""
        try:
            if not ray.is_initialized():
                ray.init(address=address, log_to_driver=False, configure_logging=False)
            return cls(serve.get_app_handle(app_name))
        except (ConnectionError, RayServeException) as error:
            raise ModelUnavailable(f"no graph {app_name!r} to connect to: {error}") from error

    def send(self, call: Call[Answer]) -> Answer:
        try:
            answer: Answer = Retrying(**_ATTEMPTS)(lambda: self._remote(call).result())
            return answer
        except Exception as error:
            raise (as_facegraph_error(error) or error) from None

    async def send_async(self, call: Call[Answer]) -> Answer:
        try:
            answer: Answer = await AsyncRetrying(**_ATTEMPTS)(self._send_once, call)
            return answer
        except Exception as error:
            raise (as_facegraph_error(error) or error) from None

    async def _send_once(self, call: Call[Answer]) -> Answer:
        response = self._remote(call)
        try:
            answer: Answer = await response
            return answer
        except asyncio.CancelledError:
            cancel(response)
            raise

    def close(self) -> None:
        """Nothing to close: the cluster was joined for the whole process."""

    async def close_async(self) -> None:
        """As `close`."""

    def _remote(self, call: Call[Any]) -> Any:
        options = () if call.options is None else (call.options,)
        return getattr(self._handle, call.name).remote(*call.photos, *options)
