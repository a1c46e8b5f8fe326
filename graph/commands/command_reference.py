"""docs/command-line.md, from the commands themselves: `make docs`."""

import sys
from collections.abc import Iterator
from enum import Enum
from typing import Any

import typer

from graph.commands.main import app

_HEAD = """# The command line

`facegraph COMMAND --help` says what stands here.

**A server or a private graph.** `compare`, `detect` and `evaluate` call the server that `--url`
names; without one they start a private graph of `--config` on this machine, which takes some 15
seconds, and end it afterwards. `FACEGRAPH_URL` and `FACEGRAPH_API_KEY` stand for `--url` and
`--api-key`; the variable is the better place for a key, as every user of a machine can read the
options of its commands.

**Output.** Answers go to stdout; progress, warnings and errors to stderr, in words. With `--json`
stdout is one JSON document and nothing else. An error is then
`{"error": {"code": "...", "message": "...", "details": {...}}}`, with the codes of the HTTP API and
`os_error` for a file that cannot be read or written.

**Exit codes.**

| code | meaning |
|---|---|
| 0 | done, and the answer is yes: a match, a face, no fault in the file, a profile that can start |
| 1 | done, and the answer is no: no match, no face, a fault found, bad photos in a folder |
| 2 | it could not be done: wrong usage, a file that is missing, no face to compare, no server |

"""


def command_page() -> str:
    root: Any = typer.main.get_command(app)
    return _HEAD + "\n".join(_section(path, command) for path, command in _commands(root))


def leaf_commands() -> list[str]:
    """Every command by its full name, such as `config check`."""
    root: Any = typer.main.get_command(app)
    return [path for path, command in _commands(root) if not hasattr(command, "commands")]


def _commands(group: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        full = f"{path} {name}".strip()
        yield full, command
        if hasattr(command, "commands"):
            yield from _commands(command, full)


def _section(path: str, command: Any) -> str:
    title = f"{'#' * (2 + path.count(' '))} facegraph {path}"
    if hasattr(command, "commands"):
        return f"{title}\n\n{command.help}\n"
    usage = " ".join(["facegraph", path, *_arguments(command), "[OPTIONS]"])
    words, _, examples = (command.help or "").partition("Examples:")
    parts = [title, f"```sh\n{usage}\n```", words.strip(), _options(command)]
    if examples.strip():
        lines = "\n".join(line.strip() for line in examples.splitlines() if line.strip())
        parts.append(f"```sh\n{lines}\n```")
    return "\n\n".join(part for part in parts if part) + "\n"


def _arguments(command: Any) -> Iterator[str]:
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            name = parameter.metavar or str(parameter.name).upper()
            many = "..." if parameter.nargs == -1 else ""
            yield f"{name}{many}" if parameter.required else f"[{name}{many}]"


def _options(command: Any) -> str:
    rows = "".join(map(_row, command.params))
    return f"| | default | what it is |\n|---|---|---|\n{rows}".rstrip() if rows else ""


def _row(parameter: Any) -> str:
    is_option = parameter.param_type_name == "option"
    names = ", ".join(f"`{name}`" for name in parameter.opts) if is_option else ""
    shown = names or f"`{parameter.metavar or str(parameter.name).upper()}`"
    variable = f" (`{parameter.envvar}`)" if parameter.envvar else ""
    words = (parameter.help or "").replace("|", "\\|").replace("<", "&lt;")
    return f"| {shown}{variable} | {_default(parameter)} | {words} |\n"


def _default(parameter: Any) -> str:
    value = parameter.default
    if parameter.required:
        return "required"
    if value is None or value is False or callable(value) or value == ():
        return ""
    return f"`{value.value if isinstance(value, Enum) else value}`"


if __name__ == "__main__":
    sys.stdout.write(command_page())
