"""Private graphs: each on a Ray cluster on this machine that its caller starts and ends."""

import logging
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import yaml
from ray import serve

from deployments.errors import FaceGraphError
from graph.serve_private import without_usage_module

# A private cluster sends no usage statistics to Ray, unless the user sets the variable.
PRIVACY = {"RAY_USAGE_STATS_ENABLED": "0"}

_HAPROXY_PORTS = ("HAPROXY_METRICS_PORT", "HAPROXY_STATS_PORT", "FALLBACK_PROXY_HTTP_PORT")
_HAPROXY_FILES = (
    ("CONFIG_FILE_LOC", "haproxy.cfg"),
    ("SOCKET_PATH", "admin.sock"),
    ("METRICS_SOCKET_PATH", "metrics.sock"),
    ("SERVER_STATE_BASE", ""),
    ("SERVER_STATE_FILE", "server-state"),
)
_DRAINING = "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S"
# Short, because nothing sends requests to a private graph that is ending.
SHORT_DRAINING_S = 0.5
# Above the ports of Ray's workers; below those of Serve's replicas and the ephemeral ports.
_PORTS = range(20_000, 30_000)


def _is_warning(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING


class LaunchFailed(FaceGraphError):
    """The graph did not start; the message says why."""

    code = "model_unavailable"


@dataclass(frozen=True)
class RunningGraph:
    """The applications of `content` on the Ray cluster at `address`. `url` and `app_name` are those
    of the first one."""

    content: dict[str, Any]
    address: str
    url: str
    app_name: str


@contextmanager
def own_cluster(**ray_options: Any) -> Iterator[str]:
    """Start a private Ray cluster; yields its address and ends it afterwards."""
    folder = tempfile.mkdtemp(prefix="facegraph-")
    logging.getLogger("ray.serve").addFilter(_is_warning)  # Serve logs each of its steps
    unset = {name: value for name, value in PRIVACY.items() if name not in os.environ}
    os.environ |= unset
    try:
        with without_usage_module():
            ray.init(
                address="local",
                _temp_dir=folder,
                include_dashboard=False,
                configure_logging=False,
                log_to_driver=False,
                **ray_options,
            )
        try:  # a cluster that did not start is not ours to shut down
            yield str(ray.get_runtime_context().gcs_address)
        finally:
            serve.shutdown()
            ray.shutdown()
    finally:
        for name in unset:
            os.environ.pop(name, None)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def own_graph(
    content: dict[str, Any],
    *,
    timeout_s: float = 120.0,
    draining_s: float = SHORT_DRAINING_S,
    **ray_options: Any,
) -> Iterator[RunningGraph]:
    """Run the applications of a checked Serve config on a private cluster, on free ports.

    draining_s: seconds for which a stopping ingress replica still takes requests. Raises
    LaunchFailed as `deploy` does.
    """
    # HAProxy keeps files of this folder open until the cluster ends.
    with tempfile.TemporaryDirectory() as folder, own_cluster(**ray_options) as address:
        content = isolated(with_port(content, free_port()), folder, draining_s)
        yield deploy(content, address=address, timeout_s=timeout_s)


def deploy(content: dict[str, Any], *, address: str, timeout_s: float = 120.0) -> RunningGraph:
    """Hand the config to `serve run` and wait until every application runs. Applications that the
    config does not list are removed.

    Raises LaunchFailed, with Serve's message, if one does not run within `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    _run(content, address, timeout_s)
    names = [str(application.get("name", "default")) for application in content["applications"]]
    for name in names:
        _wait_until_running(name, deadline)
    http = content["http_options"]
    prefix = content["applications"][0].get("route_prefix", "/").rstrip("/")
    return RunningGraph(content, address, f"http://{http['host']}:{http['port']}{prefix}", names[0])


def _run(content: dict[str, Any], address: str, timeout_s: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "serve_config.yaml"
        file.write_text(yaml.safe_dump(content))
        command = [*serve_run(file), "--address", address, "--non-blocking"]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=timeout_s
            )
        except subprocess.TimeoutExpired as error:
            raise LaunchFailed(f"serve run: not done after {timeout_s} s") from error
    if done.returncode:
        raise LaunchFailed(f"serve run: {done.stderr[-4000:]}")


def serve_run(file: Path) -> list[str]:
    """The `serve run` command of a Serve config file."""
    return [sys.executable, "-m", "ray.serve.scripts", "run", str(file)]


def with_port(content: dict[str, Any], port: int) -> dict[str, Any]:
    """A copy of the config with that HTTP port, on loopback unless it names a host."""
    http = {"host": "127.0.0.1", **content.get("http_options", {}), "port": port}
    return {**content, "http_options": http}


def isolated(
    content: dict[str, Any], folder: str, draining_s: float = SHORT_DRAINING_S
) -> dict[str, Any]:
    """A copy of the config for a cluster that is not alone on its machine.

    HAProxy's files are in `folder`, and its listeners besides HTTP get free ports: Serve's defaults
    are the same for every cluster. draining_s: as for `own_graph`.
    """
    ports = {f"RAY_SERVE_{name}": str(free_port()) for name in _HAPROXY_PORTS}
    files = {f"RAY_SERVE_HAPROXY_{name}": f"{folder}/{file}" for name, file in _HAPROXY_FILES}
    options = content.get("controller_options") or {}
    environment = options.get("runtime_env") or {}
    variables = ports | files | (environment.get("env_vars") or {}) | {_DRAINING: str(draining_s)}
    runtime_env = environment | {"env_vars": variables}
    return {**content, "controller_options": options | {"runtime_env": runtime_env}}


def free_port() -> int:
    """A port that nothing listens on, outside the range of outgoing connections."""
    for port in random.sample(_PORTS, len(_PORTS)):
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("", port))
            return port
    raise LaunchFailed(f"no port of {_PORTS.start} to {_PORTS.stop - 1} is free")


def _wait_until_running(app_name: str, deadline: float) -> None:
    while time.monotonic() < deadline:
        app = serve.status().applications.get(app_name)
        if app and app.status == "RUNNING":
            return
        if app and app.status in ("DEPLOY_FAILED", "UNHEALTHY"):
            raise LaunchFailed(app.message)
        time.sleep(0.2)
    raise LaunchFailed(f"{app_name} was not ready in time")
