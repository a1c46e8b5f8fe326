"""Pages of docs/ that are made from the code are those that are committed: `make docs`."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from configs.graph import GraphConfig
from graph.commands.config_reference import reference_page
from tests.support.profiles import ROOT
from tests.support.terminal import commands, facegraph


def test_the_configuration_page_is_up_to_date() -> None:
    assert (ROOT / "docs" / "configuration.md").read_text() == reference_page()


def test_the_command_line_page_is_up_to_date(tmp_path: Path) -> None:
    made = tmp_path / "page.md"
    names = ["--name", "facegraph", "--title", "The command line", "--output", str(made)]
    command = [sys.executable, "-m", "typer", "graph.commands.main", "utils", "docs", *names]
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
    assert (ROOT / "docs" / "command-line.md").read_text() == made.read_text()


def test_the_configuration_page_lists_every_value_that_config_show_prints() -> None:
    listed = set(re.findall(r"^\| `([^`]+)` \|", reference_page(), re.MULTILINE))
    shown = GraphConfig().model_dump(mode="json")
    shown["recognizers"] = {"<name>": shown["recognizers"]["arcface"]}
    assert set(paths(shown)) <= listed
    assert "access.keys.<name>.limits.burst" in listed


def paths(value: object, path: str = "") -> Iterator[str]:
    if not isinstance(value, dict) or not value:
        yield path
        return
    for key, item in value.items():
        yield from paths(item, f"{path}.{key}" if path else key)


def test_links_within_the_configuration_page_lead_to_headings() -> None:
    page = reference_page()
    headings = {
        re.sub(r"[^a-z0-9_ -]", "", line[3:].lower()).replace(" ", "-")
        for line in page.splitlines()
        if line.startswith("## ")
    }
    for anchor in re.findall(r"\]\(#([^)]+)\)", page):
        assert anchor in headings


def test_every_command_has_help_and_an_example() -> None:
    without = {"config reference"}
    page = (ROOT / "docs" / "command-line.md").read_text()
    for command in commands():
        assert f"# `facegraph {command}`\n" in page
        done = facegraph(*command.split(), "--help")
        assert done.code == 0
        assert command in without or "Examples" in done.out, command
