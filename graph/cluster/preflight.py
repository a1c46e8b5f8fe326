"""The checks before a graph starts: faults that Ray and Serve report late, or not in words."""

import os
import random
import socket
import sys
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from configs.graph import GraphConfig
from configs.model import ModelConfig
from deployments.errors import FaceGraphError, ModelUnavailable
from deployments.weights.find import find_weights

# Ray's longest path of a socket in a temporary folder, but for the number of this process.
_SOCKET = "facegraph-12345678/session_2026-01-31_12-00-00_123456_/sockets/plasma_store"
_LONGEST_SOCKET = 103 if sys.platform == "darwin" else 107  # bytes
# HAProxy's path of a socket: Serve puts it into a folder named by the node's id.
_PROXY_SOCKET = f"facegraph-12345678/{56 * 'f'}/m"
_LONGEST_PROXY_SOCKET = 97  # bytes, in HAProxy 2.8
# Hosts that stand for every interface, and the one at which this machine reaches them.
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}
# Above the ports of Ray's workers; below those of Serve's replicas and the ephemeral ports.
_PORTS = range(20_000, 30_000)


class LaunchFailed(FaceGraphError):
    """The graph did not start; the message says why."""

    code = "model_unavailable"


def check_paths() -> None:
    """Raises LaunchFailed for a path with which the graph cannot start."""
    fault = path_fault()
    if fault:
        raise LaunchFailed(fault)


def path_fault() -> str | None:
    """A sentence that names a path with which the graph cannot start; None if there is none."""
    return _program_fault() or _temporary_fault() or _token_fault()


def _program_fault() -> str | None:
    """Ray 2.60 starts each worker by a line for `bash`, in which it does not quote the program."""
    spec = find_spec("ray")  # not imported: that takes seconds
    ray = str(Path(spec.origin).parent) if spec and spec.origin else ""
    for path in (sys.executable, ray):
        if " " in path:
            return (
                f"{path}: Ray cannot start workers from a path with a space;"
                " install FaceGraph in a folder without one"
            )
    return None


def _temporary_fault() -> str | None:
    temporary = tempfile.gettempdir()
    if " " in temporary:
        return f"{temporary}: HAProxy cannot use a path with a space; set TMPDIR to another folder"
    for owner, socket_path, longest in (
        ("Ray", f"{_SOCKET}{os.getpid()}", _LONGEST_SOCKET),
        ("HAProxy", _PROXY_SOCKET, _LONGEST_PROXY_SOCKET),
    ):
        excess = len(os.fsencode(f"{temporary}/{socket_path}")) - longest
        if excess > 0:
            return (
                f"{temporary}: {excess} bytes too long for the paths of {owner}'s sockets;"
                " set TMPDIR to a shorter path"
            )
    return None


def _token_fault() -> str | None:
    """Ray 2.60 writes a token for this user's clusters if there is none, unless told otherwise."""
    has_token = any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    if has_token or os.environ.get("RAY_AUTH_MODE", "token") != "token":
        return None
    token = os.path.expanduser("~/.ray/auth_token")
    if os.access(token, os.R_OK):
        return None
    present = next(path for path in map(str, Path(token).parents) if os.path.exists(path))
    if os.path.isabs(token) and os.path.isdir(present) and os.access(present, os.W_OK):
        return None
    return f"{token}: Ray cannot write its token; set HOME to a folder that can be written"


def check_port(host: str, port: int) -> None:
    """Raises LaunchFailed if the HTTP port cannot be opened."""
    fault = port_fault(host, port)
    if fault:
        raise LaunchFailed(f"port {fault}; `facegraph serve --port` takes another")


def port_fault(host: str, port: int) -> str | None:
    """A text that names the port and the reason why no server could listen on it; None if one
    could. host: a name or an address of IPv4 or IPv6."""
    if not 0 <= port < 1 << 16:
        return f"{netloc(host, port)}: expected a number from 0 to 65535"
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in found:
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
    except OSError as error:
        return f"{netloc(host, port)}: {error.strerror}"
    return None


def free_port() -> int:
    """A port that nothing listens on, outside the range of outgoing connections."""
    for port in random.sample(_PORTS, len(_PORTS)):
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("", port))
            return port
    raise LaunchFailed(f"no port of {_PORTS.start} to {_PORTS.stop - 1} is free")


def reached(host: str) -> str:
    """The host at which this machine reaches a server that listens at `host`."""
    return _LOOPBACK.get(host, host)


def netloc(host: str, port: int) -> str:
    """Host and port as in a URL: an IPv6 address stands in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def check_weights(config: GraphConfig) -> list[str]:
    """Sentences about the pools without weights, which the graph starts without.

    Raises ModelUnavailable if the detector's weights or those of every recognizer are missing, and
    OSError for a file that cannot be read.
    """
    readable_weights(config.detector)
    missing = {name: _missing(pool) for name, pool in config.recognizers.items()}
    errors = {name: error for name, error in missing.items() if error}
    if len(errors) == len(missing):
        raise next(iter(errors.values()))
    classifiers = {name: _missing(pool) for name, pool in config.classifiers.items()}
    errors |= {name: error for name, error in classifiers.items() if error}
    return [f"The graph starts without {name}: {error.message}" for name, error in errors.items()]


def licence_notes(configs: Iterable[GraphConfig]) -> list[str]:
    """A sentence that names the models whose licence forbids commercial use; none without any."""
    stages = [
        stage
        for one in configs
        for stage in (one.detector, *one.recognizers.values(), *one.classifiers.values())
    ]
    models = dict.fromkeys(stage.entry.id for stage in stages if not _permitted(stage))
    if not models:
        return []
    return [f"Not for commercial use, by the weights' licence: {', '.join(models)}"]


def _permitted(stage: ModelConfig) -> bool:
    """False for a model whose licence forbids commercial use; true also where it is not stated."""
    return stage.entry.commercial_use is not False


def _missing(pool: ModelConfig) -> ModelUnavailable | None:
    try:
        readable_weights(pool)
    except ModelUnavailable as error:
        return error
    return None


def readable_weights(config: ModelConfig) -> Path:
    """The path of a model's weights; raises as `find_weights`, and OSError if it cannot be read."""
    path = find_weights(config.entry, config.weights).path
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    return path
