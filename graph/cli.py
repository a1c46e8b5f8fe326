"""The `facegraph` command: one line for each of its commands."""

import typer

from graph.config_cli import config_app
from graph.doctor_cli import doctor
from graph.embed_cli import embed
from graph.evaluate_cli import evaluate_app
from graph.keys_cli import keys_app
from graph.models_cli import models_app
from graph.photos_cli import compare, detect
from graph.plan_cli import plan
from graph.serve_cli import serve
from graph.terminal import Commands

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
