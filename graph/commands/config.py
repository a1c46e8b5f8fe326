"""`facegraph config`: checks or shows a Serve config file, and prints the reference page."""

from typing import Annotated

import typer
import yaml

from deployments.errors import InvalidConfig
from graph.commands.terminal import DEFAULT_FILE, NO, AsJson, ConfigFile, print_error, print_json

config_app = typer.Typer(no_args_is_help=True, help="Check or show a configuration.")


@config_app.command()
def check(file: ConfigFile = DEFAULT_FILE, as_json: AsJson = False) -> None:
    """Find every wrong key and value of a Serve config file; exit 1 if there is one.

    Examples:

    ```sh
    facegraph config check
    facegraph config check configs/profiles/gpu.yaml --json
    ```
    """
    from graph.cluster.serve_file import read_serve_file  # loads Ray

    faults: list[str] = []
    try:
        read_serve_file(file)
    except InvalidConfig as error:
        faults = error.message.splitlines()
    if as_json:
        print_json({"file": str(file), "ok": not faults, "faults": faults})
    elif not faults:
        typer.echo(f"{file}: ok")
    else:
        print_error("\n".join(faults))
    if faults:
        raise typer.Exit(NO)


@config_app.command()
def show(
    file: ConfigFile = DEFAULT_FILE,
    as_json: AsJson = False,
    source: Annotated[
        bool, typer.Option("--source", help="Print the file itself, as a start for your own.")
    ] = False,
) -> None:
    """Print the configuration that takes effect, with its defaults.

    Examples:

    ```sh
    facegraph config show
    facegraph config show configs/profiles/gpu.yaml --source > mine.yaml
    facegraph config show configs/profiles/full-cpu.yaml --json | jq .detector
    ```
    """
    if source:
        typer.echo(file.read_text(), nl=False)
        return
    from graph.cluster.serve_file import graph_config, read_serve_file

    config = graph_config(read_serve_file(file)).model_dump(mode="json")
    if as_json:
        print_json(config)
    else:
        typer.echo(yaml.safe_dump(config, sort_keys=False).rstrip())


@config_app.command()
def reference() -> None:
    """Print docs/configuration.md: every field with its type, default, bounds and meaning."""
    from graph.commands.config_reference import reference_page

    typer.echo(reference_page(), nl=False)
