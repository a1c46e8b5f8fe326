"""What the commands share: their options, their output, their exit codes.

0: done, and the answer is yes. 1: done, and the answer is no (no match, no face, a fault found).
2: it could not be done; the reason is on stderr.
"""

import errno
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from contextvars import ContextVar
from pathlib import Path
from tempfile import NamedTemporaryFile
from traceback import format_exception
from typing import Annotated, Any, TextIO, cast

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup

from deployments.errors import FaceGraphError
from graph.client.client import FaceGraph

DEFAULT_FILE = Path("serve_config.yaml")
err = Console(stderr=True, soft_wrap=True, highlight=False)


@contextmanager
def open_graph(
    url: str | None = None, *, api_key: str | None = None, file: Path = DEFAULT_FILE
) -> Iterator[FaceGraph]:
    """A client of the server at `url`; without one, of a graph that is started from the Serve
    config `file` on a Ray cluster of its own, which takes some 15 s, and ended afterwards.

    Raises as `FaceGraph.over_http` does; InvalidConfig for a file that is wrong, LaunchFailed where
    the graph does not start.
    """
    if url:
        with FaceGraph.over_http(url, api_key) as graph:
            yield graph
        return
    # Loads Ray, which a client of a server does without.
    from graph.cluster.launch import own_graph
    from graph.cluster.serve_file import graph_application, read_serve_file

    content = read_serve_file(file)
    app_name = graph_application(content).get("name", "default")
    with ExitStack() as stack:
        with err.status(f"Starting a private graph of {file} ..."):
            running = stack.enter_context(own_graph(content))
        yield FaceGraph.connect(app_name, address=running.address)


NO, FAILED = 1, 2

# Where the folder that a command is called in has none.
_SHIPPED_FILE = Path(__file__).parents[2] / DEFAULT_FILE

# Lines that go to a file or another program are not folded.
_WIDTH_OF_A_PIPE = 1000
_AS_JSON = "facegraph.as_json"
# What says itself what is wrong, or that all is done.
_OF_TYPER = cast(
    "tuple[type[Exception], ...]", (typer.Exit, typer.Abort, *typer.BadParameter.__bases__)
)
_json_out: ContextVar[TextIO | None] = ContextVar("json_out", default=None)


@contextmanager
def _stdout_for_json() -> Iterator[None]:
    """What others print, such as Ray its warnings, goes to stderr."""
    token = _json_out.set(sys.stdout)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _json_out.reset(token)


def _prepare(context: typer.Context, as_json: bool) -> bool:
    context.meta[_AS_JSON] = as_json  # for an error that ends the command
    if as_json:
        context.with_resource(_stdout_for_json())
    return as_json


def _shipped_if_missing(file: Path) -> Path:
    shipped = file == DEFAULT_FILE and not file.exists() and _SHIPPED_FILE.exists()
    return _SHIPPED_FILE if shipped else file


AsJson = Annotated[
    bool,
    typer.Option("--json", callback=_prepare, help="Print JSON, and nothing else, on stdout."),
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
        help="Serve config file: its models and settings, where no server is given.",
    ),
]
RecognizerNames = Annotated[
    list[str] | None,
    typer.Option(
        "--recognizer",
        "-r",
        help="A pool to ask; may be given several times. Left out, the graph's defaults.",
    ),
]


class Commands(TyperGroup):
    """Errors are told in words, on stderr, and as JSON where that is asked for."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except FaceGraphError as error:
            raise _failed(ctx, error, error.code, error.details) from error
        except ImportError as error:  # OpenCV's on a bare machine: `facegraph doctor` says more
            raise _failed(ctx, error, "not_installed", {}) from error
        except OSError as error:
            if error.errno == errno.EPIPE:  # whoever read stdout has gone
                raise
            path = {} if error.filename is None else {"path": str(error.filename)}
            raise _failed(ctx, error, "os_error", path) from error
        except _OF_TYPER:
            raise
        except Exception as error:
            raise _failed(ctx, _unforeseen(error), "internal", {}) from error


def _unforeseen(error: Exception) -> FaceGraphError:
    """Says where the traceback is; it holds no values of variables, of which one may be a key."""
    with NamedTemporaryFile("w", prefix="facegraph-", suffix=".txt", delete=False) as file:
        file.writelines(format_exception(error))
    name = type(error).__name__
    return FaceGraphError(f"facegraph failed on something unforeseen ({name}): see {file.name}")


def _failed(context: Any, error: Exception, code: str, details: dict[str, Any]) -> typer.Exit:
    message = error.message if isinstance(error, FaceGraphError) else _in_words(error)
    err.print(message, style="red", markup=False)
    if context.meta.get(_AS_JSON):
        print_json({"error": {"code": code, "message": message, "details": details}})
    return typer.Exit(FAILED)


def _in_words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def print_json(value: Any) -> None:
    """`value`: JSON-ready, or a schema."""
    as_model = isinstance(value, BaseModel)
    text = value.model_dump_json(indent=2) if as_model else json.dumps(value, indent=2)
    typer.echo(text, file=_json_out.get())


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, whole: Sequence[str] = ()
) -> None:
    """`whole`: columns that are never folded."""
    table = Table()
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column in whole)
    for row in rows:
        table.add_row(*map(Text, row))
    Console(width=None if sys.stdout.isatty() else _WIDTH_OF_A_PIPE).print(table)
