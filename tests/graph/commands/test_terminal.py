"""Options, errors and output that all commands share."""

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from deployments.errors import FaceNotFound
from graph.commands.terminal import (
    AsJson,
    Commands,
    RecognizerNames,
    err,
    photo_bar,
    print_json,
    print_table,
)

app = typer.Typer(cls=Commands)
inner = typer.Typer()
app.add_typer(inner, name="inner")


@app.command()
def work(how: str, as_json: AsJson = False) -> None:
    print("a library's chatter")
    match how:
        case "well":
            print_json({"done": True})
        case "face":
            raise FaceNotFound("image: no face found", field="image")
        case "file":
            Path("/nowhere/at/all").read_text()
        case "bug":
            secret = "a key"
            raise ZeroDivisionError(len(secret))
        case "usage":
            raise typer.BadParameter("not like this")


@app.command()
def ask(recognizers: RecognizerNames = None) -> None:
    print(recognizers)


@inner.command()
def deep(as_json: AsJson = False) -> None:
    raise FaceNotFound("image: no face found")


def test_json_is_all_that_comes_on_stdout() -> None:
    done = CliRunner().invoke(app, ["work", "well", "--json"])
    assert json.loads(done.stdout) == {"done": True}
    assert done.stderr == "a library's chatter\n"
    assert CliRunner().invoke(app, ["work", "well"]).stdout.startswith("a library's chatter\n{")


@pytest.mark.parametrize(
    ("how", "code", "message", "details"),
    [
        ("face", "face_not_found", "image: no face found", {"field": "image"}),
        ("file", "os_error", "/nowhere/at/all: No such file", {"path": "/nowhere/at/all"}),
    ],
)
def test_an_error_is_told_in_words_and_as_json(
    how: str, code: str, message: str, details: dict[str, str]
) -> None:
    plain = CliRunner().invoke(app, ["work", how])
    assert (plain.exit_code, plain.stderr.startswith(message)) == (2, True)
    error = json.loads(CliRunner().invoke(app, ["work", how, "--json"]).stdout)["error"]
    assert (error["code"], error["details"]) == (code, details)
    assert error["message"].startswith(message)


def test_a_bug_leaves_its_traceback_in_a_file_and_no_values_in_it() -> None:
    done = CliRunner().invoke(app, ["work", "bug"])
    assert done.exit_code == 2
    assert "unexpected error (ZeroDivisionError)" in done.stderr
    assert "Traceback" not in done.stderr
    file = Path(done.stderr.rpartition("see ")[2].strip())
    traceback = file.read_text()
    file.unlink()
    assert "ZeroDivisionError: 5" in traceback


def test_commands_of_commands_are_no_different() -> None:
    done = CliRunner().invoke(app, ["inner", "deep", "--json"])
    assert (done.exit_code, json.loads(done.stdout)["error"]["code"]) == (2, "face_not_found")


def test_wrong_usage_is_typers_to_tell() -> None:
    done = CliRunner().invoke(app, ["work", "usage"])
    assert (done.exit_code, "not like this" in done.stderr) == (2, True)


def test_recognizers_are_given_one_by_one_or_by_commas() -> None:
    for options in (["-r", "a", "--recognizer", "b"], ["-r", "a, b"]):
        assert CliRunner().invoke(app, ["ask", *options]).stdout == "['a', 'b']\n"
    assert CliRunner().invoke(app, ["ask"]).stdout == "None\n"


def table_at(width: int, capsys: pytest.CaptureFixture[str], **options: Any) -> list[str]:
    """The lines of a table of four columns on a pipe of that width."""
    rows = [
        (
            "arcface",
            "99.83%\n99.71% - 99.92%",
            "a sentence of five words",
            "/a/long/path/of/a/file",
        ),
        ("[red]", "-", "", "12345.678"),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(width))
        print_table(("pool", "TAR", "what", "file"), rows, **options)
    return capsys.readouterr().out.splitlines()


def test_a_table_that_fits_has_a_line_for_each_line_of_its_cells(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert table_at(80, capsys, numbers=["TAR"]) == [
        "pool                 TAR  what                      file",
        "arcface           99.83%  a sentence of five words  /a/long/path/of/a/file",
        "         99.71% - 99.92%",
        "[red]                  -                            12345.678",
    ]


def test_a_wide_table_is_wrapped_at_spaces_and_its_rows_are_kept_apart(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = table_at(60, capsys)
    assert max(map(len, lines)) <= 60
    assert [" ".join(line.split()) for line in lines] == [
        "pool TAR what file",
        "arcface 99.83% a sentence /a/long/path/of/a/file",
        "99.71% - of five",
        "99.92% words",
        "",
        "[red] - 12345.678",
    ]


def test_words_and_numbers_stay_whole_in_a_table_that_cannot_fit(
    capsys: pytest.CaptureFixture[str],
) -> None:
    printed = " ".join(table_at(20, capsys)).split()
    expected = "99.71% 99.92% sentence words /a/long/path/of/a/file 12345.678 [red]"
    assert set(expected.split()) <= set(printed)


def test_a_tables_title_and_caption_are_wrapped_and_read_no_markup(
    capsys: pytest.CaptureFixture[str],
) -> None:
    caption = "A [bold] note of more than sixty characters that goes on and on here."
    _, title, *_, first, second = table_at(60, capsys, title="[bold]", caption=caption)
    assert (title, f"{first.strip()} {second}") == ("[bold]", caption)


def test_the_bar_counts_photos_on_a_terminal_only(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def work() -> str:
        with photo_bar("Embedding", 3, done=1, note="0 faces") as advance:
            advance(2, note="5 faces")
        return capsys.readouterr().err

    assert work() == ""
    monkeypatch.setattr(err, "_force_terminal", True)
    shown = work()
    assert "Embedding" in shown
    assert "3/3" in shown
    assert "photos 5 faces" in shown
