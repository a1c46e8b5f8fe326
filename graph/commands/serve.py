"""`facegraph serve`: runs the graph in the foreground."""

import math
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.errors import FaceGraphError, InvalidConfig
from graph.cluster.supervisor import LOST, RestartPolicy, Supervisor
from graph.commands.terminal import (
    DEFAULT_FILE,
    FAILED,
    NO,
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
    ```
    """
    if address != _LOCAL:
        _run(file, port, address)
        return
    policy = RestartPolicy(
        max_restarts=max_restarts if restart else 0,
        delay_s=restart_delay,
        healthy_after_s=healthy_after,
    )
    graph = Supervisor(_run_supervised, file, port, policy=policy, report=print_progress)
    raise typer.Exit(graph.run())


def _run_supervised(file: Path, port: int | None) -> None:
    """Run the graph in a process of its own, which ends with an exit code as a command does."""
    try:
        with errors_told():
            _run(file, port, _LOCAL)
    except typer.Exit as ended:
        sys.exit(ended.exit_code)


def _run(file: Path, port: int | None, address: str) -> None:
    began = time.monotonic()
    print_progress(STARTING.format(file=file))
    from graph.cluster.launch import graph_on, own_graph, with_port  # loads Ray
    from graph.cluster.serve_file import read_serve_file
    from graph.cluster.watch import watch

    try:
        content = read_serve_file(file)
    except InvalidConfig as error:
        print_error(error.message)
        raise typer.Exit(NO) from error
    if port:
        content = with_port(content, port)
    if address == _LOCAL:
        port = (content.get("http_options") or {}).get("port", 8000)
        graph = own_graph(
            content, port=port, timeout_s=math.inf, report=print_progress, on_lost=_end
        )
    else:
        graph = graph_on(address, content, timeout_s=math.inf, report=print_progress)
    with graph as running:
        page = f"the page is {running.url}/, the API's description {running.url}/docs"
        try:
            stdout_console().print(
                f"Ready after {time.monotonic() - began:.1f} s: {page}; Ctrl-C stops the graph"
            )
            watch(running, print_progress)
        except FaceGraphError as error:
            print_error(error.message)
            raise typer.Exit(LOST if address == _LOCAL else FAILED) from error
        except (KeyboardInterrupt, SystemExit):
            print_progress("Stopping the graph")


def _end(ended: "EndedProcess") -> None:
    """End this process at once: Ray's calls would wait for the cluster that has ended."""
    print_error(
        f"The Ray cluster has ended: its {ended.name} (process {ended.pid}) has ended with code"
        f" {ended.code}"
    )
    sys.stdout.flush()
    os._exit(LOST)
