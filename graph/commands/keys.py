"""`facegraph keys`: makes API keys."""

from pathlib import Path
from typing import Annotated

import typer
import yaml

from configs.access import require_key_name
from configs.files import write_atomically
from deployments.errors import InvalidConfig
from graph.commands.terminal import NO, AsJson, err, print_error, print_json
from graph.http.keys import digest_of, new_key, parse_keys

keys_app = typer.Typer(no_args_is_help=True, help="Make API keys.")


@keys_app.callback()
def _keys() -> None:
    """Keep the name `new`: without a callback, typer drops the name of a group's only command."""


@keys_app.command()
def new(
    name: Annotated[
        str, typer.Argument(help="Name of the client that the key is for; appears in the log.")
    ],
    file: Annotated[Path, typer.Option(help="YAML file that access.keys_file names.")],
    as_json: AsJson = False,
) -> None:
    """Print a new key, once, and add its name and SHA-256 to the file.

    Examples:

    ```sh
    facegraph keys new phone-app --file keys.yaml
    ```
    """
    try:
        key = new_key()
        _add_line(file, require_key_name(name), digest_of(key.encode()))
    except InvalidConfig as error:
        print_error(error.message)
        raise typer.Exit(NO) from error
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if as_json:
        print_json({"name": name, "key": key, "file": str(file)})
    else:
        typer.echo(key)
    err.print(f"{file} holds only its SHA-256: keep the key, it is not shown again", markup=False)


def _add_line(file: Path, name: str, digest: str) -> None:
    """Add a key to the file; its other lines, comments included, stay as they are."""
    text = file.read_text() if file.exists() else ""
    if name in parse_keys(text, str(file)):
        raise InvalidConfig(f"{file}: there is a key for {name!r}; take its line out first")
    if text and not text.endswith("\n"):
        text += "\n"
    text += yaml.safe_dump({name: digest})
    parse_keys(text, str(file))
    write_atomically(file.resolve(), text, mode=0o600)
