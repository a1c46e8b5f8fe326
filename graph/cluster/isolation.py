"""The environment of a cluster that is not alone on its machine, and its workers' first import."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from graph.cluster.preflight import free_port

_HAPROXY_PORTS = ("HAPROXY_METRICS_PORT", "HAPROXY_STATS_PORT", "FALLBACK_PROXY_HTTP_PORT")
# The sockets have short names, because HAProxy limits their paths (graph/cluster/preflight.py).
_HAPROXY_FILES = (
    ("CONFIG_FILE_LOC", "haproxy.cfg"),
    ("SOCKET_PATH", "a"),
    ("METRICS_SOCKET_PATH", "m"),
    ("SERVER_STATE_BASE", ""),
    ("SERVER_STATE_FILE", "server-state"),
)
_DRAINING = "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S"
# Serve kills a proxy that is not ready after 5 s, its default, as on a busy machine: `serve.start`
# then fails.
_PROXY_START = {"RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60"}


def split_environment(content: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """A copy of a checked Serve config without the environment variables of Serve's controller, and
    those variables, for the process that starts the cluster's nodes.

    Ray starts each process with a runtime environment of its own by way of another Python, which
    imports Ray to set the variables: that is a fifth of a replica's start. Variables that refer to
    others (`${PATH}`) stay in the config, because Ray evaluates them.
    """
    options = content.get("controller_options") or {}
    environment = options.get("runtime_env") or {}
    variables = environment.get("env_vars") or {}
    kept = {name: value for name, value in variables.items() if "$" in value}
    environment = {key: value for key, value in environment.items() if key != "env_vars"}
    environment |= {"env_vars": kept} if kept else {}
    options = {key: value for key, value in options.items() if key != "runtime_env"}
    options |= {"runtime_env": environment} if environment else {}
    moved = {name: value for name, value in variables.items() if name not in kept}
    return {**content, "controller_options": options}, moved


def isolated(variables: Mapping[str, str], folder: Path, draining_s: float) -> dict[str, str]:
    """A config's variables, completed for a cluster whose files are in `folder`.

    HAProxy's files are there, too, and its listeners besides HTTP get free ports: Serve's defaults
    are the same for every cluster. The proxy may take as long to start as Serve waits for it.
    draining_s: seconds for which a stopping ingress replica still takes requests.
    """
    ports = {f"RAY_SERVE_{name}": str(free_port()) for name in _HAPROXY_PORTS}
    files = {f"RAY_SERVE_HAPROXY_{name}": f"{folder}/{file}" for name, file in _HAPROXY_FILES}
    return {**ports, **files, **_PROXY_START, **variables, _DRAINING: str(draining_s)}


def preloading(system_config: Mapping[str, Any]) -> dict[str, Any]:
    """Ray's system configuration for workers that import graph/cluster/preload.py first."""
    return {"preload_python_modules": ["graph.cluster.preload"], **system_config}
