"""Private Ray clusters on this machine: their caller starts and ends them."""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError

from graph.client.cluster import quiet_ray
from graph.cluster.preflight import LaunchFailed, check_paths
from graph.cluster.progress import reason_of
from graph.cluster.remains import MARK, own_folder, remove_remains
from graph.cluster.signals import catch_signals, signals_ignored, signals_raise
from graph.serve_private import (
    EndedProcess,
    ended_process,
    hide_node_death,
    init_ray,
    shut_down_serve,
    without_monitors,
    without_usage_module,
)

# gRPC logs a line for each process that a replica starts.
_ENVIRONMENT = {"GRPC_ENABLE_FORK_SUPPORT": "0"}
_WATCH_PERIOD_S = 0.2

# Called in a thread of its own when a process without which the cluster cannot live has ended.
OnLost = Callable[[EndedProcess], None]


@dataclass(frozen=True)
class PrivateCluster:
    """address: of the cluster, for `ray.init`. folder: its files, removed when it ends."""

    address: str
    folder: Path


def _no_variables(_folder: Path) -> dict[str, str]:
    return {}


@contextmanager
def own_cluster(
    *,
    on_lost: OnLost | None = None,
    variables_of: Callable[[Path], Mapping[str, str]] = _no_variables,
    **ray_options: Any,
) -> Iterator[PrivateCluster]:
    """Start a private Ray cluster, which ends with the block.

    variables_of: the environment variables of the cluster's processes, by its folder.
    SIGINT and SIGTERM raise in the block, as `signals_raise` does; a second signal does not wait
    for unfinished requests. Raises LaunchFailed as `check_paths`, and if Ray does not start.
    """
    check_paths()
    remove_remains()
    with signals_raise(), _variables(_ENVIRONMENT), own_folder() as folder, quiet_ray():
        _start_ray(folder, variables_of(folder), **ray_options)
        try:  # a cluster that did not start is not ours to shut down
            catch_signals()
            with _watched(on_lost):
                yield PrivateCluster(str(ray.get_runtime_context().gcs_address), folder)
        finally:
            shut_down()


@contextmanager
def _watched(on_lost: OnLost | None) -> Iterator[None]:
    """Call `on_lost` once, if a process of the cluster ends within the block.

    The processes are looked at, not asked: a call to a cluster that has ended blocks for a minute,
    after which Ray ends this process.
    """
    if on_lost is None:
        yield
        return
    hide_node_death()
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(_WATCH_PERIOD_S):
            if ended := ended_process():
                on_lost(ended)
                return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def _start_ray(folder: Path, variables: Mapping[str, str], **ray_options: Any) -> None:
    """Start the cluster; a signal meanwhile ends it. Raises LaunchFailed if it does not start."""
    try:
        with (
            without_usage_module(),
            without_monitors(),
            _variables({**variables, MARK: str(folder)}),
        ):
            init_ray(
                address="local",
                _temp_dir=str(folder),
                include_dashboard=False,
                configure_logging=False,
                log_to_driver=False,
                **ray_options,
            )
    except Exception as error:  # a node that does not start in time raises no narrower one
        raise LaunchFailed(f"Ray did not start: {reason_of(str(error))}") from error
    except (KeyboardInterrupt, SystemExit) as stopped:
        with signals_ignored():
            ray.shutdown()
        if isinstance(stopped, SystemExit):  # of Ray's own handler, whose code is 15
            stopped.code = 128 + signal.SIGTERM
        raise


def shut_down() -> None:
    """Shut Serve down and leave the cluster. A second signal does not wait for Serve."""
    with suppress(KeyboardInterrupt, SystemExit, RayError):
        shut_down_serve()
    with signals_ignored():
        ray.shutdown()


@contextmanager
def _variables(wanted: Mapping[str, str]) -> Iterator[None]:
    """Set the variables, for the processes that start meanwhile."""
    before = {name: os.environ[name] for name in wanted if name in os.environ}
    os.environ |= wanted
    try:
        yield
    finally:
        for name in wanted:
            os.environ.pop(name, None)
        os.environ |= before
