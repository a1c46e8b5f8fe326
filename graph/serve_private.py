"""The private names of Ray Serve that FaceGraph uses, and the reasons. No other file may use one,
but graph/serve_haproxy.py those of HAProxy.

All were checked in the source of Ray 2.60.0, and pyproject.toml pins that minor version. Before the
pin is raised, each name here must be checked against the new source.
"""

import atexit
import logging
import os
import pickle
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import ray
from ray._common.usage import usage_lib
from ray._private import auto_init_hook, ray_constants, services, utils, worker
from ray._private.authentication import authentication_token_setup as token_setup
from ray._private.node import Node
from ray._private.worker import global_worker
from ray.serve import context

# The states in the answer of the public `serve.status`.
from ray.serve._private.common import DeploymentStatus, ReplicaState
from ray.serve._private.constants import (
    DEFAULT_MAX_ONGOING_REQUESTS,
    SERVE_CONTROLLER_NAME,
    SERVE_HTTP_REQUEST_DISCONNECT_DISABLED_HEADER,
    SERVE_HTTP_REQUEST_ID_HEADER,
    SERVE_HTTP_REQUEST_TIMEOUT_S_HEADER,
    SERVE_MULTIPLEXED_MODEL_ID,
    SERVE_NAMESPACE,
    SERVE_SESSION_ID,
)
from ray.serve._private.replica_result import ActorReplicaResult

# The base class of graph.pipeline.routing's router: the public RequestRouter selects no replica.
from ray.serve._private.request_router.pow_2_router import PowerOfTwoChoicesRequestRouter
from ray.serve.handle import DeploymentHandle
from ray.serve.request_router import RequestRouter, RunningReplica
from ray.serve.schema import ServeDeploySchema

__all__ = [
    "CLIENT_OVERRIDE_HEADERS",
    "DEFAULT_MAX_ONGOING_REQUESTS",
    "REQUEST_ID_HEADER",
    "DeploymentStatus",
    "EndedProcess",
    "PowerOfTwoChoicesRequestRouter",
    "ReplicaState",
    "WillingReplica",
    "by_reference",
    "clusters_here",
    "current_request_id",
    "deploy_applications",
    "deployment_of",
    "ended_process",
    "for_any_thread",
    "haproxy_binary",
    "hide_node_death",
    "hide_token_notice",
    "http_host",
    "init_ray",
    "is_serve_up",
    "set_request_id",
    "shut_down_serve",
    "start_nothing_at_exit",
    "until_answered",
    "use_token",
    "without_monitors",
    "without_usage_module",
]

REQUEST_ID_HEADER = SERVE_HTTP_REQUEST_ID_HEADER
# Headers by which a client sets its own deadline, lets work go on after it has disconnected, and
# chooses a replica. Serve documents them, but has no public constants for them.
CLIENT_OVERRIDE_HEADERS = (
    SERVE_HTTP_REQUEST_TIMEOUT_S_HEADER,
    SERVE_HTTP_REQUEST_DISCONNECT_DISABLED_HEADER,
    SERVE_MULTIPLEXED_MODEL_ID,
    SERVE_SESSION_ID,
)
_NODE_DEATH = ("Raylet is terminated", "The node with node id")
# Seconds for the controller to acknowledge that it is to end.
_ANSWER_TIMEOUT_S = 5.0


def by_reference(handle: DeploymentHandle[Any]) -> DeploymentHandle[Any]:
    """A handle whose answers stay where they were made, for who is given a reference to them.

    `_by_reference` is the only way to choose the transport of one handle.
    """
    return handle.options(_by_reference=True)


def for_any_thread(handle: DeploymentHandle[Any]) -> DeploymentHandle[Any]:
    """A handle for callers with an event loop and without one, by reference.

    Processes of the graph's cluster inherit RAY_SERVE_THROUGHPUT_OPTIMIZED, which would bind the
    handle to its caller's event loop.
    """
    if not handle.is_initialized:
        handle._init(_run_router_in_separate_loop=True)
    return by_reference(handle)


class QuietResult(ActorReplicaResult):
    """The result of a call by reference, which is not fetched by who only waits for its end."""

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        # The callback keeps the reference, without which Ray would not call it.
        reference: Any = self.to_object_ref()
        reference._on_ready(lambda _, kept=reference: callback(None))


class WillingReplica(RunningReplica):
    """A replica that is called without being asked first whether it accepts the call.

    Serve's own call by reference is a stream of two objects, the acceptance and the answer, which
    takes twice the CPU of a plain actor call. It makes the plain call only where the replica is of
    another language.
    """

    @property
    def is_cross_language(self) -> bool:
        return True

    def try_send_request(self, pr: Any, with_rejection: bool) -> Any:
        if not pr.metadata._by_reference or pr.metadata.is_streaming:
            return super().try_send_request(pr, with_rejection)
        call = self._actor_handle.handle_request
        answer = call.remote(pickle.dumps(pr.metadata), *pr.args, **pr.kwargs)
        return QuietResult(answer, pr.metadata)


async def until_answered(response: Any) -> None:
    """Wait until a call by reference has an answer or an error, without fetching either."""
    with suppress(Exception):
        reference = await response._to_object_ref()
        await reference._ready()


def current_request_id() -> str:
    """The id of the current task's request; empty outside of a request.

    Serve takes a client's `x-request-id` or makes an id, and passes it on with every call between
    replicas. No public function reads it.
    """
    return str(context._get_serve_request_context().request_id)


def set_request_id(request_id: str) -> None:
    """Set the id that this task's calls to other replicas carry from now on."""
    context._set_request_context(request_id=request_id)


def deployment_of(router: RequestRouter) -> Any:
    """The DeploymentID of a router's replicas; no public attribute has it."""
    return router._deployment_id


def http_host() -> str | None:
    """The address at which Serve takes HTTP requests; None if it takes none.

    `serve.status` does not include it.
    """
    client = context._get_global_client()
    return None if client is None else client.http_config.host


def haproxy_binary() -> str:
    """The path of the HAProxy program that Serve would start; raises FileNotFoundError."""
    from ray.serve._private.haproxy import get_haproxy_binary

    return str(get_haproxy_binary())


@contextmanager
def without_usage_module() -> Iterator[None]:
    """Let `ray.init(include_dashboard=False)` start no API server, unless the user has switched
    Ray's usage statistics on.

    That server's one module is then the one that sends them. Even where they are off, it looks up
    metadata.google.internal and sends two requests to 169.254.169.254, to learn the cloud's name.
    """
    if usage_lib.usage_stats_enabled():
        yield
        return
    start = services.start_api_server
    services.start_api_server = lambda *_, **__: ("", None)  # no URL, no process
    try:
        yield
    finally:
        services.start_api_server = start


@contextmanager
def without_monitors() -> Iterator[None]:
    """Let `ray.init` start neither the autoscaler, which has no nodes to add here, nor the monitor
    that sends workers' output to drivers, which `log_to_driver=False` leaves out."""
    starts = {name: getattr(Node, name) for name in ("start_monitor", "start_log_monitor")}
    for name in starts:
        setattr(Node, name, lambda _: None)
    try:
        yield
    finally:
        for name, start in starts.items():
            setattr(Node, name, start)


def init_ray(**options: Any) -> None:
    """`ray.init`, which fails if the command line or the current folder has a name in no UTF-8.

    Ray keeps the command line, to show it, and puts the folder in front of the workers' sys.path.
    Here Ray gets the command line with escapes, and another folder in place of such a one.
    """
    folder = os.getcwd()
    command_line: Callable[[], str] = utils.get_entrypoint_name
    utils.get_entrypoint_name = lambda: _with_escapes(command_line())
    is_moved = _with_escapes(folder) != folder
    if is_moved:
        os.chdir("/")
    try:
        with _on_loopback(str(options["address"])):
            ray.init(**options)
    finally:
        utils.get_entrypoint_name = command_line
        if is_moved:
            os.chdir(folder)


class EndedProcess(NamedTuple):
    """A process of Ray: its name, such as `raylet`, its id, and its exit code as Popen gives it."""

    name: str
    pid: int
    code: int


def ended_process() -> EndedProcess | None:
    """One of the processes that `ray.init` started here for its cluster, if one has ended by
    itself: `raylet` or `gcs_server`, without either of which the cluster is lost.

    Ray's agents are not among them: the raylet ends when one of them does.
    """
    node: Any = worker._global_node
    for name, process in node.dead_processes():
        if name in (ray_constants.PROCESS_TYPE_RAYLET, ray_constants.PROCESS_TYPE_GCS_SERVER):
            return EndedProcess(name, process.pid, process.returncode)
    return None


def hide_node_death() -> None:
    """Leave out Ray's messages of up to twenty lines which tell that a node has died."""
    show: Callable[..., None] = worker.print_to_stdstream

    def show_others(data: dict[str, Any], **options: Any) -> None:
        if not str(data["lines"][0]).startswith(_NODE_DEATH):
            show(data, **options)

    worker.print_to_stdstream = show_others  # type: ignore[assignment]


def is_serve_up() -> bool:
    """Tell whether Serve's controller lives, or is being restarted by Ray."""
    try:
        ray.get_actor(SERVE_CONTROLLER_NAME, SERVE_NAMESPACE)
    except ValueError:
        return False
    return True


@contextmanager
def _on_loopback(address: str) -> Iterator[None]:
    """Let a cluster that `ray.init` starts have this node at 127.0.0.1, as on macOS, so that its
    ports are on loopback; and let one be joined there. Ray otherwise takes the address by which
    others reach the machine, in place of 127.0.0.1 too."""
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = before and not address.startswith(("local", "127.0.0.1:"))
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def _with_escapes(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()


def deploy_applications(config: ServeDeploySchema) -> None:
    """Tell Serve's controller to run exactly the applications of the config.

    `serve deploy` does the same by way of Ray's dashboard, which private clusters do not have.
    """
    client = context._get_global_client()
    if client is None:
        raise RuntimeError("Serve has not been started")
    client.deploy_apps(config)


def shut_down_serve(timeout_s: float = 30.0) -> None:
    """Shut Serve down on the cluster of this process, if this process has used it.

    `serve.shutdown` waits in a call of the controller, until the controller is killed: Ray then
    prints a warning that the call is tried again. Handles always wait in such a call: the thread
    that prints the warnings ends first, as in `ray.shutdown`, which must follow.
    """
    client, _ = context._check_cached_client_alive()
    if client is None:
        return
    global_worker.threads_stopped.set()
    global_worker.gcs_error_subscriber.close()  # type: ignore[attr-defined]  # set by ray.init
    client.shutdown_cached_handles()
    ray.get(client._controller.graceful_shutdown.remote(wait=False), timeout=_ANSWER_TIMEOUT_S)
    deadline = time.monotonic() + timeout_s
    while is_serve_up() and time.monotonic() < deadline:
        time.sleep(0.1)
    context._disconnect()


def clusters_here() -> set[str]:
    """The addresses of the Ray clusters with a node on this machine, of every user.

    Ray reads them from the processes' command lines. `ray.init(address="auto")` takes the one that
    started last, with a warning.
    """
    return set(services._find_address_from_flag("--gcs-address"))


def use_token() -> None:
    """Send this user's Ray token, if there is one, with every message from now on.

    `ray.init` does so for "auto", and not for an address, which may be another user's machine.
    """
    token_setup.maybe_enable_token_auth_if_token_available(warn_if_disabled=False)


def start_nothing_at_exit() -> None:
    """Let Ray's functions fail, instead of calling `ray.init`, once this process ends.

    Serve's threads may still call some then, after Ray has been shut down.
    """
    atexit.register(setattr, auto_init_hook, "enable_auto_connect", False)


def hide_token_notice() -> None:
    """Leave out the log line that tells how to opt out of token authentication."""
    logging.getLogger(token_setup.__name__).addFilter(_is_no_token_notice)


def _is_no_token_notice(record: logging.LogRecord) -> bool:
    return "to opt out" not in record.getMessage()
