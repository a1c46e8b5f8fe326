"""The `facegraph` command: one line for each of its commands."""

import typer

from graph.commands.config import config_app
from graph.commands.doctor import doctor
from graph.commands.embed import embed
from graph.commands.evaluate import evaluate_app
from graph.commands.keys import keys_app
from graph.commands.models import models_app
from graph.commands.photos import compare, detect
from graph.commands.plan import plan
from graph.commands.serve import serve
from graph.commands.terminal import Commands

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_show_locals=False,  # among them may be a key
    help="Face recognition as a graph on Ray Serve.",
)
app.command()(serve)
app.command()(compare)
app.command()(detect)
app.command()(embed)
app.command()(doctor)
app.command()(plan)
app.add_typer(config_app, name="config")
app.add_typer(models_app, name="models")
app.add_typer(evaluate_app, name="evaluate")
app.add_typer(keys_app, name="keys")


if __name__ == "__main__":
    app()
