"""The `facegraph` command."""

import os
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console

from deployments.errors import FaceGraphError
from graph.evaluate_cli import evaluate_app
from graph.keys_cli import keys_app
from graph.launch import PRIVACY, beside_others, serve_run, with_port
from graph.models_cli import models_app
from graph.serve_file import graph_config, read_serve_file

app = typer.Typer(no_args_is_help=True, help="Face recognition as a graph on Ray Serve.")
config_app = typer.Typer(no_args_is_help=True, help="Look at a configuration, or check it.")
app.add_typer(config_app, name="config")
app.add_typer(models_app, name="models")
app.add_typer(evaluate_app, name="evaluate")
app.add_typer(keys_app, name="keys")

DEFAULT_FILE = Path("serve_config.yaml")
ConfigFile = Annotated[Path, typer.Argument(help="A Serve config file.")]
err = Console(stderr=True, soft_wrap=True, highlight=False)


@app.command()
def serve(
    file: ConfigFile = DEFAULT_FILE,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="HTTP port, instead of the file's.")
    ] = None,
    address: Annotated[
        str, typer.Option(help="Ray cluster to use; `local` starts one that ends with this.")
    ] = "local",
) -> None:
    """Check the file, then `serve run` it until Ctrl-C."""
    content = _checked(file)
    if port:
        content = with_port(content, port)
    # Stays there, for `serve run` and HAProxy to read.
    folder = Path(tempfile.mkdtemp(prefix="facegraph-"))
    if address == "local":
        content = beside_others(content, str(folder))
    file = folder / "serve_config.yaml"
    file.write_text(yaml.safe_dump(content))
    # `serve run` takes this process's place, so that signals reach it.
    os.execve(sys.executable, [*serve_run(file), "--address", address], PRIVACY | os.environ)


@config_app.command()
def check(file: ConfigFile = DEFAULT_FILE) -> None:
    """Find every wrong key and value of a Serve config file; exit 1 if there is one."""
    _checked(file)
    typer.echo(f"{file}: ok")


@config_app.command()
def show(file: ConfigFile = DEFAULT_FILE) -> None:
    """Print the graph's configuration as it takes effect, defaults filled in."""
    config = graph_config(_checked(file))
    typer.echo(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False).rstrip())


def _checked(file: Path) -> dict[str, Any]:
    try:
        return read_serve_file(file)
    except FaceGraphError as error:
        err.print(error.message, style="red", markup=False)
        raise typer.Exit(1) from error


if __name__ == "__main__":
    app()
