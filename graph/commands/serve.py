"""`facegraph serve`: runs the graph in the foreground."""

import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
import yaml

from deployments.errors import FaceGraphError, InvalidConfig
from graph.cluster.front import Front, front_of
from graph.cluster.preflight import free_port
from graph.cluster.supervisor import LOST, RestartPolicy, Supervisor, supervise
from graph.commands.terminal import (
    DEFAULT_FILE,
    FAILED,
    NO,
    PREFIX,
    ConfigFile,
    errors_told,
    print_error,
    print_progress,
    stdout_console,
)

if TYPE_CHECKING:
    from graph.serve_private import EndedProcess

STARTING = "Starting the graph of {file}, which usually takes 15 to 30 s; the first time is longest"
_LOCAL = "local"
_PORT = 8000
_POLICY = RestartPolicy()


def _help(field: str) -> str | None:
    return RestartPolicy.model_fields[field].description


def serve(
    file: ConfigFile = DEFAULT_FILE,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="HTTP port, instead of the file's.")
    ] = None,
    address: Annotated[
        str,
        typer.Option(help="Ray cluster to use; `local` starts one that ends with this command."),
    ] = _LOCAL,
    clusters: Annotated[
        int,
        typer.Option(
            min=1,
            max=16,
            help="Ray clusters that run the graph behind one HTTP port, so that the others answer"
            " while one that has ended is started again. Each takes the memory of a whole graph.",
        ),
    ] = 1,
    restart: Annotated[
        bool,
        typer.Option(
            help="Start the graph again when the cluster that this command started has ended."
        ),
    ] = True,
    max_restarts: Annotated[
        int, typer.Option(min=0, help=_help("max_restarts"))
    ] = _POLICY.max_restarts,
    restart_delay: Annotated[
        float, typer.Option(min=0, max=3600, help=_help("delay_s"))
    ] = _POLICY.delay_s,
    healthy_after: Annotated[
        float, typer.Option(min=0, max=1e9, help=_help("healthy_after_s"))
    ] = _POLICY.healthy_after_s,
) -> None:
    """Check the file, then run its graph until Ctrl-C or SIGTERM.

    Prints a line for each stage that is ready, and the page's URL when all are. When the Ray
    cluster ends that this command started, a line says so, and the graph is started again.

    Exit code: 0 it was ready and has been stopped, 1 the file has a fault, 2 it could not start, or
    has ended and is not started again.

    Examples:

    <!-- not run: a server runs until Ctrl-C -->
    ```sh
    facegraph serve
    facegraph serve configs/profiles/full-cpu.yaml --port 9000
    facegraph serve configs/profiles/gpu.yaml --address auto
    facegraph serve --clusters 2
    ```
    """
    if address != _LOCAL:
        if clusters > 1:
            raise typer.BadParameter("--clusters is for clusters that this command starts")
        _run(_Cluster(file, port, address))
        return
    policy = RestartPolicy(
        max_restarts=max_restarts if restart else 0,
        delay_s=restart_delay,
        healthy_after_s=healthy_after,
    )
    members = [_Cluster(file, port)]
    if clusters > 1:
        members = [
            _Cluster(file, port, number=n, own_port=free_port()) for n in range(1, clusters + 1)
        ]
    graphs = [
        Supervisor(_run_supervised, member, policy=policy, report=member.print_progress)
        for member in members
    ]
    front = _front(members) if clusters > 1 else None
    raise typer.Exit(supervise(*graphs, front=front))


@dataclass(frozen=True)
class _Cluster:
    """A graph on a Ray cluster.

    port: of HTTP, instead of the file's. number: of the cluster, from 1, if several run the graph;
    else 0. own_port: its HTTP port behind the one of all clusters.
    """

    file: Path
    port: int | None
    address: str = _LOCAL
    number: int = 0
    own_port: int = 0

    @property
    def prefix(self) -> str:
        """What each line of one of several clusters begins with."""
        return f"cluster {self.number}: " if self.number else ""

    def print_progress(self, sentence: str) -> None:
        print_progress(self.prefix + sentence)

    def print_error(self, message: str) -> None:
        print_error(self.prefix + message)


def _front(clusters: Sequence[_Cluster]) -> Front | None:
    """The HAProxy before the clusters; None for a file with a fault, which the first cluster's
    process tells. Raises LaunchFailed as `front_of`."""
    file, port = clusters[0].file, clusters[0].port
    with suppress(OSError, ValueError, yaml.YAMLError, AttributeError, TypeError, LookupError):
        content = yaml.safe_load(file.read_text())
        http = content.get("http_options") or {}
        ports = [cluster.own_port for cluster in clusters]
        return front_of(content, port or http.get("port", _PORT), ports, print_progress)
    return None


def _run_supervised(tell_ready: Callable[[], None], cluster: _Cluster) -> None:
    """Run the graph in a process of its own, which ends with an exit code as a command does.

    Python's own exit is skipped: where Ray's start was interrupted, it has taken half a minute.
    """
    code: int | str | None = 0
    try:
        with errors_told({PREFIX: cluster.prefix}):
            _run(cluster, tell_ready)
    except typer.Exit as ended:
        code = ended.exit_code
    except SystemExit as ended:
        code = ended.code
    _exit(int(code or 0))


def _run(cluster: _Cluster, tell_ready: Callable[[], None] = lambda: None) -> None:
    began = time.monotonic()
    cluster.print_progress(STARTING.format(file=cluster.file))
    from graph.cluster.launch import graph_on, own_graph, url_of, with_port  # loads Ray
    from graph.cluster.serve_file import read_serve_file
    from graph.cluster.watch import watch

    is_own = cluster.address == _LOCAL
    try:
        content = read_serve_file(cluster.file)
    except InvalidConfig as error:
        cluster.print_error(error.message)
        raise typer.Exit(NO) from error
    http = content.get("http_options") or {}
    content = with_port(content, cluster.port or http.get("port", _PORT))
    url = url_of(content)
    if cluster.own_port:
        content = with_port(content, cluster.own_port)
    start: dict[str, Any] = {"timeout_s": math.inf, "report": cluster.print_progress}
    if is_own:
        graph = own_graph(
            content,
            port=content["http_options"]["port"],
            on_lost=partial(_end, cluster),
            **start,
        )
    else:
        graph = graph_on(cluster.address, content, **start)
    with graph as running:
        page = f"the page is {url}/, the API's description {url}/docs"
        seconds = time.monotonic() - began
        try:
            stdout_console().print(
                f"{cluster.prefix}Ready after {seconds:.1f} s: {page}; Ctrl-C stops the graph"
            )
            tell_ready()
            watch(running, cluster.print_progress)
        except FaceGraphError as error:
            cluster.print_error(error.message)
            raise typer.Exit(LOST if is_own else FAILED) from error
        except (KeyboardInterrupt, SystemExit):
            cluster.print_progress("Stopping the graph")


def _end(cluster: _Cluster, ended: "EndedProcess") -> None:
    """End this process at once: Ray's calls would wait for the cluster that has ended."""
    cluster.print_error(
        f"The Ray cluster has ended: its {ended.name} (process {ended.pid}) has ended with code"
        f" {ended.code}"
    )
    _exit(LOST)


def _exit(code: int) -> NoReturn:
    sys.stdout.flush()
    os._exit(code)
