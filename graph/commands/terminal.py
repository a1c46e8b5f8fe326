"""The commands' shared parts: exit codes, options, the graph that they call, errors and output.

Exit code 0: done, and the answer is yes. 1: done, and the answer is no (no match, no face, a fault
found). 2: it could not be done; the reason is on stderr. 130: interrupted by Ctrl-C.
"""

import json
import os
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from contextvars import ContextVar
from importlib.util import find_spec
from pathlib import Path
from tempfile import NamedTemporaryFile
from traceback import format_exception
from types import MappingProxyType
from typing import Annotated, Any, Protocol, TextIO, cast

import typer
from pydantic import BaseModel
from rich.cells import cell_len
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup

from configs.extras import install_command
from configs.shipped import shipped_file
from configs.spelling import did_you_mean
from deployments.errors import FaceGraphError, InvalidConfig, InvalidRequest, UnknownRecognizer
from graph.client.client import FaceGraph

NO, FAILED, INTERRUPTED = 1, 2, 130

DEFAULT_FILE = Path("serve_config.yaml")

err = Console(stderr=True, soft_wrap=True, highlight=False, emoji=False)
_GAP = 2  # characters between the columns of a table

_AS_JSON = "facegraph.as_json"
# The beginning of each message of an error.
PREFIX = "facegraph.prefix"
# The real stdout, while a command prints JSON.
_json_out: ContextVar[TextIO | None] = ContextVar("json_out", default=None)
# Typer does not export BadParameter's base.
_UsageError = cast("type[Exception]", typer.BadParameter.__base__)


@contextmanager
def _stdout_for_json() -> Iterator[None]:
    """Send to stderr everything that libraries print, such as Ray's warnings."""
    token = _json_out.set(sys.stdout)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _json_out.reset(token)


def _start_json(context: typer.Context, as_json: bool) -> bool:
    """Callback of --json: keeps stdout for JSON until the command ends, with its error if any."""
    context.meta[_AS_JSON] = as_json
    if as_json:
        context.with_resource(_stdout_for_json())
    return as_json


def _shipped_if_missing(context: typer.Context, parameter: typer.CallbackParam, file: Path) -> Path:
    """Callback of a Serve config file: a shipped one is found without a checkout, too.

    A DEFAULT_FILE that the user names is always a file of the user.
    """
    source = context.get_parameter_source(str(parameter.name))
    named = source is None or source.name != "DEFAULT"
    shipped = None if named and file == DEFAULT_FILE else shipped_file(file)
    found = file if file.is_file() else shipped
    if found is None:
        raise typer.BadParameter(f"{file}: there is no such file")
    return found


def writable_file(file: Path | None) -> Path | None:
    """Callback of an output file: refuses a file that cannot be written, before the work starts."""
    if file and not file.parent.is_dir():
        raise typer.BadParameter(f"{file}: there is no folder {file.parent}")
    if file and not os.access(file if file.exists() else file.parent, os.W_OK):
        raise typer.BadParameter(f"{file}: cannot be written")
    return file


def writable_folder(folder: Path) -> Path:
    """Callback of an output folder, which is made if it is missing: as `writable_file`."""
    present = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not present.is_dir():
        raise typer.BadParameter(f"{folder}: {present} is not a folder")
    if not os.access(present, os.W_OK):
        raise typer.BadParameter(f"{folder}: cannot be written")
    return folder


def _split_names(names: list[str] | None) -> list[str] | None:
    """`a,b` and `c` -> a, b and c; None stays None."""
    if names is None:
        return None
    return [name.strip() for text in names for name in text.split(",") if name.strip()]


AsJson = Annotated[
    bool,
    typer.Option(
        "--json",
        callback=_start_json,
        is_eager=True,  # faults of the other options are told as JSON, too
        help="Print JSON, and nothing else, on stdout.",
    ),
]
Url = Annotated[
    str | None,
    typer.Option(
        envvar="FACEGRAPH_URL",
        help="A running server, such as http://127.0.0.1:8000; left out, a private graph is"
        " started for this command.",
    ),
]
ApiKey = Annotated[
    str | None,
    typer.Option(
        envvar="FACEGRAPH_API_KEY",
        help="The server's API key. Other users of this machine see a command's options: set the"
        " variable instead.",
        show_default=False,
    ),
]
ConfigFile = Annotated[
    Path, typer.Argument(help="A Serve config file.", callback=_shipped_if_missing)
]
ConfigOption = Annotated[
    Path,
    typer.Option(
        "--config",
        callback=_shipped_if_missing,
        help="Serve config file: its models and settings are used where no server is given.",
    ),
]
OptionalConfig = Annotated[
    Path | None,
    typer.Option("--config", exists=True, dir_okay=False, help="Serve config file."),
]
RecognizerNames = Annotated[
    list[str] | None,
    typer.Option(
        "--recognizer",
        "-r",
        callback=_split_names,
        help="A recognizer pool to ask; may be given several times. Left out, the graph's"
        " defaults.",
    ),
]


def require_served(recognizers: Sequence[str], served: Collection[str]) -> None:
    """Raise UnknownRecognizer for the first name that is not served."""
    for name in recognizers:
        if name not in served:
            raise UnknownRecognizer(
                f"no recognizer {name!r}{did_you_mean(name, served)}; there are"
                f" {', '.join(served)}",
                field="recognizers",
                served=list(served),
            )


def require_ray_data(user: str) -> None:
    """Raise InvalidConfig if the extra that brings Ray Data is missing; user: what needs it."""
    if not (find_spec("pyarrow") and find_spec("pandas")):
        raise InvalidConfig(f"{user} needs Ray Data: {install_command('embed')}")


@contextmanager
def open_graph(
    url: str | None = None,
    *,
    api_key: str | None = None,
    file: Path = DEFAULT_FILE,
    recognizers: Sequence[str] = (),
) -> Iterator[FaceGraph]:
    """Open a client of the server at `url`, or, without one, of a private graph of `file`.

    A private graph starts in some 15 s and ends afterwards. recognizers: those that will be asked.
    Raises as `FaceGraph.over_http` does, InvalidConfig for a wrong file, UnknownRecognizer, and
    LaunchFailed if the graph does not start.
    """
    if url:
        with FaceGraph.over_http(url, api_key) as graph:
            yield graph
        return
    # These load Ray, which the client of a server does not need.
    from graph.cluster.launch import own_graph
    from graph.cluster.serve_file import application_name, graph_config, read_serve_file

    content = read_serve_file(file)
    require_served(recognizers, graph_config(content).recognizers)
    app_name = application_name(content)
    starting = f"Starting a private graph of {file}, which usually takes 15 to 30 s"
    if not err.is_terminal:  # where there is no status
        print_progress(starting)
    with ExitStack() as stack:
        with err.status(Text(starting)) as status:

            def report(sentence: str) -> None:
                status.update(Text(sentence))

            running = stack.enter_context(own_graph(content, report=report))
        try:
            yield FaceGraph.connect(app_name, address=running.address)
        finally:
            with err.status("Stopping the private graph"):
                stack.close()


class Commands(TyperGroup):
    """A group of commands. Errors become a message on stderr and, with --json, JSON on stdout."""

    def invoke(self, ctx: Any) -> Any:
        # Until the command's options are read, and if they cannot be.
        ctx.meta[_AS_JSON] = "--json" in ctx.args
        try:
            with errors_told(ctx.meta):
                return super().invoke(ctx)
        except _UsageError as error:
            _print_usage_error(ctx, error)
            raise


@contextmanager
def errors_told(meta: Mapping[str, Any] = MappingProxyType({})) -> Iterator[None]:
    """Within the block every error but one of usage becomes a message and `typer.Exit`.

    meta: of the command's context, which tells whether stdout is JSON, and may have a PREFIX.
    """
    try:
        yield
    except FaceGraphError as error:
        raise _failed(meta, error, error.code, error.details) from error
    except ImportError as error:  # OpenCV's on a bare machine: `facegraph doctor` says more
        raise _failed(meta, error, "not_installed", {}) from error
    except BrokenPipeError as error:  # the reader of stdout has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(FAILED) from error
    except OSError as error:
        path = {} if error.filename is None else {"path": str(error.filename)}
        raise _failed(meta, error, "os_error", path) from error
    except KeyboardInterrupt as error:
        raise typer.Exit(INTERRUPTED) from error
    except (typer.Exit, typer.Abort, _UsageError):
        raise
    except Exception as error:
        raise _failed(meta, _unexpected(error), "internal", {}) from error


def _print_usage_error(context: Any, error: Any) -> None:
    """Print the JSON of an error that typer tells in words."""
    if context.meta.get(_AS_JSON):
        _print_json_error(InvalidRequest.code, error.format_message(), {})
        error.ctx.close()  # the command's stdout, which its parser left redirected


def _unexpected(error: Exception) -> FaceGraphError:
    """Write the traceback to a file, without values of variables: one may be a key."""
    with NamedTemporaryFile("w", prefix="facegraph-", suffix=".txt", delete=False) as file:
        file.writelines(format_exception(error))
    return FaceGraphError(f"unexpected error ({type(error).__name__}): see {file.name}")


def _failed(
    meta: Mapping[str, Any], error: Exception, code: str, details: dict[str, Any]
) -> typer.Exit:
    message = meta.get(PREFIX, "") + _message(error)
    print_error(message)
    if meta.get(_AS_JSON):
        _print_json_error(code, message, details)
    return typer.Exit(FAILED)


def _print_json_error(code: str, message: str, details: dict[str, Any]) -> None:
    with suppress(OSError):  # stdout may be what failed
        print_json({"error": {"code": code, "message": message, "details": details}})


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def print_error(message: str) -> None:
    """Print a red line on stderr."""
    err.print(message, style="red", markup=False)


def print_progress(sentence: str) -> None:
    """Print a line on stderr."""
    err.print(sentence, markup=False)


def print_line(text: str) -> None:
    """Print a line on stdout, with escapes for the characters that its encoding lacks."""
    encoding = sys.stdout.encoding or "utf-8"
    typer.echo(text.encode(encoding, "backslashreplace").decode(encoding))


def print_json(value: Any) -> None:
    """Print a schema's object, or any JSON-ready value, on stdout."""
    as_model = isinstance(value, BaseModel)
    text = value.model_dump_json(indent=2) if as_model else json.dumps(value, indent=2)
    typer.echo(text, file=_json_out.get())


class _Stdout(Console):
    def on_broken_pipe(self) -> None:
        raise  # as other errors of output


def stdout_console(width: int | None = None) -> Console:
    """A console on stdout that folds no text. width: characters; None takes COLUMNS, or the
    terminal's, or 80."""
    return _Stdout(soft_wrap=True, highlight=False, width=width)


def print_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    title: str = "",
    caption: str = "",
    numbers: Collection[str] = (),
) -> None:
    """Print a table on stdout, to a terminal and to a pipe alike.

    Cells are wrapped at spaces to fit the console's width. Words and numbers stay whole: if they
    do not fit, the table is wider. numbers: columns that are aligned to the right.
    """
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0))
    narrowest = widest = 0
    for column, *cells in zip(columns, *rows, strict=True):
        lines = [line for cell in (column, *cells) for line in cell.splitlines()]
        words = _longest(word for line in lines for word in line.split())
        table.add_column(
            column,
            justify="right" if column in numbers else "left",
            min_width=words,
            no_wrap=not any(" " in line for line in lines),
        )
        narrowest, widest = narrowest + words + _GAP, widest + _longest(lines) + _GAP
    console = stdout_console()
    is_wrapped = widest - _GAP > console.width
    for row in rows:
        if is_wrapped and table.row_count:
            table.add_row()
        table.add_row(*map(Text, row))
    if title:
        console.print(f"\n{title}", style="bold", markup=False)
    wide_enough = stdout_console(max(console.width, narrowest))
    with wide_enough.capture() as captured:
        wide_enough.print(table, soft_wrap=False, crop=False)
    typer.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))
    if caption:
        console.print(caption, soft_wrap=False, markup=False)


def _longest(texts: Iterable[str]) -> int:
    return max(map(cell_len, texts), default=0)


class Advance(Protocol):
    def __call__(self, photos: int = 1, *, note: str = "") -> None:
        """Move the bar on by `photos`, and replace the text beside the count."""


@contextmanager
def photo_bar(
    task: str, total: int, *, done: int = 0, note: str = "", unit: str = "photos"
) -> Iterator[Advance]:
    """Show a progress bar on stderr; yields the function that moves it.

    Shown on a terminal only. done: photos, or other units, that were done before. note: a text
    beside the count.
    """
    columns: tuple[ProgressColumn | str, ...] = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]} {task.fields[note]}"),
        _Rate(),
        TimeElapsedColumn(),
        "ETA",
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, disable=not err.is_terminal) as progress:
        bar = progress.add_task(task, total=total, completed=done, note=note, unit=unit)

        def advance(photos: int = 1, *, note: str = "") -> None:
            progress.update(bar, advance=photos, note=note)

        yield advance


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(
            "" if speed is None else f"{speed:.1f} {task.fields['unit']}/s",
            style="progress.data.speed",
        )
