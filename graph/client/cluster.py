"""Ray clusters that run already: the one to join, and how."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from deployments.errors import ModelUnavailable
from graph.serve_private import (
    clusters_here,
    hide_token_notice,
    init_ray,
    start_nothing_at_exit,
    use_token,
)

AUTO = "auto"
_LISTENER_TIMEOUT_S = 5.0


def join_cluster(address: str = AUTO) -> None:
    """Make this process a part of the Ray cluster at `address`, unless it is already.

    "auto" is the cluster that RAY_ADDRESS names, or else the only one on this machine. Raises
    ModelUnavailable if there is none, if several run here, or if this process is on another one.
    """
    if ray.is_initialized():
        _require_same(address, str(ray.get_runtime_context().gcs_address))
        return
    if address == AUTO:
        address = os.environ.get("RAY_ADDRESS") or AUTO
    if address == AUTO:
        address = _only_cluster()
    _require_listener(address)
    with quiet_ray():
        if address in clusters_here():
            use_token()  # as Ray does for a cluster that it finds itself
        try:
            init_ray(address=address, log_to_driver=False, configure_logging=False)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ModelUnavailable(f"no Ray cluster at {address}: {error}") from error
    start_nothing_at_exit()
    # Serve logs steps of the first calls, too.
    logging.getLogger("ray.serve").setLevel(logging.WARNING)


@contextmanager
def quiet_ray() -> Iterator[None]:
    """Within the block Ray and Serve log warnings and errors only, not each of their steps."""
    loggers = [logging.getLogger(name) for name in ("ray", "ray.serve")]
    levels = [logger.level for logger in loggers]
    hide_token_notice()
    for logger in loggers:
        logger.setLevel(max(logger.level, logging.WARNING))
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _only_cluster() -> str:
    found = sorted(clusters_here())
    if not found:
        raise ModelUnavailable("no graph runs on this machine: `facegraph serve` starts one")
    if len(found) > 1:
        raise ModelUnavailable(
            f"{len(found)} Ray clusters run on this machine: pass address=, or --address, as"
            f" one of {', '.join(found)}",
            addresses=found,
        )
    return found[0]


def _require_listener(address: str) -> None:
    """Raises ModelUnavailable if nothing listens there: `ray.init` finds out after minutes."""
    if "://" in address:  # Ray Client's
        return
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), _LISTENER_TIMEOUT_S).close()
    except ValueError as error:
        raise ModelUnavailable(f"no Ray cluster at {address}: expected HOST:PORT") from error
    except OSError as error:
        raise ModelUnavailable(f"no Ray cluster at {address}: {error}") from error


def _require_same(address: str, joined: str) -> None:
    if address != AUTO and _resolved(address) != _resolved(joined):
        raise ModelUnavailable(
            f"this process is on the Ray cluster at {joined} and cannot join {address} too;"
            " `ray.shutdown()` leaves it"
        )


def _resolved(address: str) -> tuple[str, str]:
    """IP address and port; this machine's own name counts as loopback."""
    host, _, port = address.rpartition(":")
    try:
        ip = socket.gethostbyname(host)
    except OSError:
        ip = host
    own = (ray.util.get_node_ip_address(), "127.0.0.1")
    return ("127.0.0.1" if ip in own else ip), port
