"""The pages name only files, links, commands, options, targets and fields that exist."""

import re
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import typer

from configs.haproxy import PREFIX, HAProxySettings
from graph.commands.config_reference import reference_page
from graph.commands.main import app
from tests.docs.pages import PAGES, blocks_of, prose_of, text_of
from tests.support.profiles import ROOT

FIELDS = set(re.findall(r"^\| `([^`]+)` \|", reference_page(), re.MULTILINE))
TARGETS = set(re.findall(r"^([a-z-]+%?):", (ROOT / "Makefile").read_text(), re.MULTILINE))
SOURCES = "".join(
    file.read_text()
    for top in ("graph", "deployments", "configs")
    for file in ROOT.glob(f"{top}/**/*.py")
)
COMMANDS: Any = typer.main.get_command(app)
HAPROXY_VARIABLES = {PREFIX + field.upper() for field in HAProxySettings.model_fields}

every_page = pytest.mark.parametrize("page", PAGES, ids=str)


@every_page
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", prose_of(page)):
        if re.match(r"https?://", link):
            continue
        name, _, anchor = link.partition("#")
        target = (ROOT / page).parent / name if name else ROOT / page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to the page's headings."""
    headings = re.findall(r"^#+ (.+)$", prose_of(page.relative_to(ROOT)), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@every_page
def test_every_path_of_the_repository_exists(page: Path) -> None:
    tops = "graph|deployments|configs|tests|benchmarks|docs"
    for path in re.findall(rf"(?<![\w/.~-])((?:{tops})/[\w./*-]+)", text_of(page)):
        assert list(ROOT.glob(path.rstrip("./"))), path


@every_page
def test_every_make_target_exists(page: Path) -> None:
    for target in re.findall(r"(?:`|^)make ([a-z_-]+)", text_of(page), re.MULTILINE):
        benchmark = f"benchmarks.{target.removeprefix('bench-')}"
        assert {target, f"{target}%"} & TARGETS or find_spec(benchmark), target


@every_page
def test_every_field_of_the_configuration_exists(page: Path) -> None:
    tops = "|".join({field.split(".")[0] for field in FIELDS})
    named = re.findall(rf"`((?:{tops})(?:\.\w+)+)`", text_of(page))
    for field in named:
        pool = re.sub(r"^recognizers\.\w+", "recognizers.<name>", field)
        assert any(f"{known}.".startswith(f"{pool}.") for known in FIELDS), field


@every_page
def test_every_import_path_exists(page: Path) -> None:
    pattern = r"\b((?:graph|deployments|configs)(?:\.\w+)+):(\w+)"
    for module, name in re.findall(pattern, text_of(page)):
        assert hasattr(import_module(module), name), f"{module}:{name}"


@every_page
def test_every_variable_of_the_environment_is_read(page: Path) -> None:
    for name in re.findall(r"\bFACEGRAPH_\w+", text_of(page)):
        assert name in SOURCES or name in HAPROXY_VARIABLES, name


@every_page
def test_every_command_and_option_exists(page: Path) -> None:
    for line in command_lines(page):
        command = COMMANDS
        words = line.split()[1:]
        while words and words[0] in getattr(command, "commands", ()):
            command = command.commands[words.pop(0)]
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if re.match("--?[a-z]", word)} <= known | {"--help"}, line
        assert not hasattr(command, "commands") or words in (
            [],
            ["--version"],
            ["COMMAND", "--help"],
        ), line


def command_lines(page: Path) -> Iterator[str]:
    """Each call of `facegraph`, without what it is piped to and the comment behind it."""
    code = "\n".join(block.text for block in blocks_of(page) if block.language == "sh")
    inline = re.findall(r"`(facegraph [^`]+)`", prose_of(page))
    for line in [*re.sub(r"\\\n", " ", code).splitlines(), *inline]:
        if line.startswith("facegraph "):
            yield re.split(r" [|#] ?", line)[0]
