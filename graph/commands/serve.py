"""`facegraph serve`: runs the graph in the foreground."""

import os
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer
import yaml

from deployments.errors import InvalidConfig
from graph.commands.terminal import DEFAULT_FILE, NO, ConfigFile, print_error


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
    """Check the file, then run its graph until Ctrl-C; exit 1 if the file has a fault.

    Examples:

    <!-- not run: a server runs until Ctrl-C -->
    ```sh
    facegraph serve
    facegraph serve configs/profiles/full-cpu.yaml --port 9000
    facegraph serve configs/profiles/gpu.yaml --address auto
    ```
    """
    from graph.cluster.launch import PRIVACY, isolated, serve_run, with_port  # loads Ray
    from graph.cluster.serve_file import read_serve_file

    try:
        content = read_serve_file(file)
    except InvalidConfig as error:
        print_error(error.message)
        raise typer.Exit(NO) from error
    if port:
        content = with_port(content, port)
    # The folder is never deleted: `serve run` and HAProxy read it until they end.
    folder = Path(tempfile.mkdtemp(prefix="facegraph-"))
    if address == "local":
        content = isolated(content, str(folder))
    file = folder / "serve_config.yaml"
    file.write_text(yaml.safe_dump(content))
    # `serve run` replaces this process, so that signals reach it.
    os.execve(sys.executable, [*serve_run(file), "--address", address], PRIVACY | os.environ)
