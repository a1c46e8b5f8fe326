"""The `facegraph` command, called in this process."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
from typer.testing import CliRunner

from graph.commands.main import app


@dataclass(frozen=True)
class Done:
    """A command's exit code and output."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The JSON document that is the whole of stdout."""
        return json.loads(self.out)


def facegraph(*arguments: str | Path, **environment: str) -> Done:
    done = CliRunner().invoke(app, [*map(str, arguments)], env={"COLUMNS": "100"} | environment)
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Done(done.exit_code, done.stdout, done.stderr)


def facegraph_gallery(*arguments: object, code: int = 0) -> str:
    """The stdout of `facegraph gallery`, which must end with this exit code."""
    done = CliRunner().invoke(app, ["gallery", *map(str, arguments)])
    assert done.exit_code == code, done.output
    return done.stdout


def commands() -> list[str]:
    """Every command by its full name, such as `config check`."""
    return list(_commands(typer.main.get_command(app)))


def _commands(command: Any, path: str = "") -> Iterator[str]:
    if not hasattr(command, "commands"):
        yield path
        return
    for name, inner in command.commands.items():
        yield from _commands(inner, f"{path} {name}".strip())
