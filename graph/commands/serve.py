"""`facegraph serve`: runs the graph in the foreground."""

import math
import time
from typing import Annotated

import typer

from deployments.errors import InvalidConfig
from graph.commands.terminal import (
    DEFAULT_FILE,
    NO,
    ConfigFile,
    print_error,
    print_progress,
    stdout_console,
)

STARTING = "Starting the graph of {file}, which usually takes 15 to 30 s; the first time is longest"


def serve(
    file: ConfigFile = DEFAULT_FILE,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="HTTP port, instead of the file's.")
    ] = None,
    address: Annotated[
        str,
        typer.Option(help="Ray cluster to use; `local` starts one that ends with this command."),
    ] = "local",
) -> None:
    """Check the file, then run its graph until Ctrl-C or SIGTERM.

    Prints a line for each stage that is ready, and the page's URL when all are.

    Exit code: 0 it was ready and has been stopped, 1 the file has a fault, 2 it could not start.

    Examples:

    <!-- not run: a server runs until Ctrl-C -->
    ```sh
    facegraph serve
    facegraph serve configs/profiles/full-cpu.yaml --port 9000
    facegraph serve configs/profiles/gpu.yaml --address auto
    ```
    """
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
    if address == "local":
        port = (content.get("http_options") or {}).get("port", 8000)
        graph = own_graph(content, port=port, timeout_s=math.inf, report=print_progress)
    else:
        graph = graph_on(address, content, timeout_s=math.inf, report=print_progress)
    with graph as running:
        page = f"the page is {running.url}/, the API's description {running.url}/docs"
        try:
            stdout_console().print(
                f"Ready after {time.monotonic() - began:.1f} s: {page}; Ctrl-C stops the graph"
            )
            watch(running, print_progress)
        except (KeyboardInterrupt, SystemExit):
            print_progress("Stopping the graph")
