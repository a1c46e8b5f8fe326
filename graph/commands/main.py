"""The `facegraph` command and its sub-commands."""

from importlib.metadata import version
from typing import Annotated

import typer

from graph.commands.config import config_app
from graph.commands.demo import demo
from graph.commands.doctor import doctor
from graph.commands.embed import embed
from graph.commands.evaluate import evaluate_app
from graph.commands.gallery import gallery_app, search
from graph.commands.gallery_database import database_app
from graph.commands.gallery_demo import demo_app
from graph.commands.gallery_enrol import enrol_app
from graph.commands.gallery_facts import facts_app
from graph.commands.gallery_import import import_app
from graph.commands.gallery_persons import persons_app
from graph.commands.gallery_transfer import transfer_app
from graph.commands.keys import keys_app
from graph.commands.models import models_app
from graph.commands.photos import compare, detect
from graph.commands.plan import plan
from graph.commands.serve import serve
from graph.commands.terminal import Commands

_HELP = """
Face recognition as a graph on Ray Serve.

`facegraph compare a.jpg b.jpg` tells whether two photos show one person; `facegraph serve` starts a
server with a page for the browser. `facegraph COMMAND --help` shows a command's examples.
"""
_CONVENTIONS = """
**A server or a private graph.** `compare`, `detect`, `gallery`, `search` and `evaluate` call the
server that `--url` names; without it they start a private graph of `--config` on this machine,
which takes some 15 seconds, and end it afterwards. `FACEGRAPH_URL` and `FACEGRAPH_API_KEY` stand
for `--url` and `--api-key`. The variable is the better place for a key: every user of a machine can
read the options of its commands.

**Output.** Answers go to stdout; progress, warnings and errors go to stderr, in words. With
`--json` stdout is one JSON document and nothing else. An error is then
`{"error": {"code": "...", "message": "...", "details": {...}}}`, with the codes of the HTTP API and
`os_error` for a file that cannot be read or written. Tables are as wide as `COLUMNS` or the
terminal, or else 80 characters.

**Exit codes.**

| code | meaning |
|---|---|
| 0 | done, and the answer is yes: a match, a face, no fault in the file, a profile that can start |
| 1 | done, and the answer is no: no match, no face, a fault found, files skipped in a folder |
| 2 | it could not be done: wrong usage, a file that is missing, no face to compare, no server |
| 130, 143 | it was stopped by Ctrl-C or by SIGTERM; `serve` that was ready exits with 0 |
"""


def _print_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"facegraph {version('facegraph')}")
        raise typer.Exit


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_show_locals=False,  # one of them may be a key
    help=_HELP.strip(),
    epilog=_CONVENTIONS.strip(),
)


@app.callback()
def _facegraph(
    is_version_asked: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    pass


_PHOTOS, _SERVER = "Photos", "A server"
app.command(rich_help_panel=_PHOTOS)(demo)
app.command(rich_help_panel=_PHOTOS)(compare)
app.command(rich_help_panel=_PHOTOS)(detect)
app.command(rich_help_panel=_PHOTOS)(embed)
app.add_typer(gallery_app, name="gallery", rich_help_panel=_PHOTOS)
app.command(rich_help_panel=_PHOTOS)(search)
app.add_typer(evaluate_app, name="evaluate", rich_help_panel=_PHOTOS)
app.command(rich_help_panel=_SERVER)(serve)
app.command(rich_help_panel=_SERVER)(doctor)
app.command(rich_help_panel=_SERVER)(plan)
app.add_typer(config_app, name="config", rich_help_panel=_SERVER)
app.add_typer(models_app, name="models", rich_help_panel=_SERVER)
gallery_app.add_typer(enrol_app)
gallery_app.add_typer(import_app)
gallery_app.add_typer(demo_app)
gallery_app.add_typer(facts_app)
gallery_app.add_typer(persons_app)
gallery_app.add_typer(transfer_app)
gallery_app.add_typer(database_app)
app.add_typer(keys_app, name="keys", rich_help_panel=_SERVER)


if __name__ == "__main__":
    app()
