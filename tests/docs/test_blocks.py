"""Every block of every page: it runs, in the order of the page, or a mark says why it does not.

A mark is an HTML comment before the block: `<!-- not run: needs a Kubernetes cluster -->`. It names
what the machine lacks that runs the tests.
"""

import json
from itertools import pairwise
from pathlib import Path
from shutil import copyfile
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
import yaml

from configs.graph import GraphConfig
from graph.cluster.launch import RunningGraph
from tests.docs.blocks import facegraph_command, run_python, run_shell
from tests.docs.pages import NOT_CODE, PAGES, RUN, Block, blocks_of, prose_of, runnable
from tests.support.photos import FEW_PLAYERS, GDP, YAOMING, photo_bytes, photo_path
from tests.support.profiles import ROOT
from tests.support.waiting import TIMEOUT_S

SERVERS = ("http://127.0.0.1:8000", "http://faces:8000")
PHOTOS = {
    "a.jpg": YAOMING,
    "b.jpg": GDP,
    "photo.jpg": GDP,
    "passport.jpg": YAOMING,
    "selfie.jpg": YAOMING,
    "portrait.jpg": YAOMING,
    "group.jpg": FEW_PLAYERS,
}
# Text that a page's blocks print, and how often at least.
PRINTED = {
    "docs/http.md": {'"faces":': 4, '"matched":true': 2, "x-request-id: shift-7/photo-12": 1},
    "docs/python.md": {"target: no face found target": 1, "[1, 6]": 1, "a.jpg 1.0": 1},
}
ALL = [block for page in PAGES for block in blocks_of(page)]


@pytest.fixture
def folder(tmp_path: Path, running: RunningGraph, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of a page's reader, with the files that the pages speak of."""
    folder = tmp_path / "work"
    for parent in (folder, folder / "photos"):
        parent.mkdir()
        for name, photo in PHOTOS.items():
            (parent / name).write_bytes(photo_bytes(photo))
    (folder / "people" / "p-1017").mkdir(parents=True)
    copyfile(photo_path(YAOMING), folder / "people" / "p-1017" / "passport.jpg")
    cv2.imwrite(str(folder / "nobody.png"), np.full((100, 100, 3), 90, np.uint8))
    (folder / "configs").symlink_to(ROOT / "configs")
    copyfile(ROOT / "serve_config.yaml", folder / "serve_config.yaml")
    _write_lists(folder)
    for gallery in ("staff", "staff-2"):  # of the page before
        httpx.delete(f"{running.url}/v1/galleries/{gallery}", timeout=TIMEOUT_S)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("FACEGRAPH_URL", running.url)
    return folder


def _write_lists(folder: Path) -> None:
    """Lists for `facegraph evaluate`, with enough impostor pairs for a FAR of 1e-3."""
    pairs = ["a.jpg,passport.jpg,1,one,one"] + 1000 * ["a.jpg,b.jpg,0,one,other"]
    header = "a,b,same,template_a,template_b"
    (folder / "pairs.csv").write_text("\n".join([header, *pairs]) + "\n")
    photos = ["photo,template,medium", "a.jpg,one,1", "passport.jpg,one,2", "b.jpg,other,3"]
    (folder / "templates.csv").write_text("\n".join(photos) + "\n")


@pytest.mark.parametrize("page", [page for page in PAGES if runnable(page)], ids=str)
def test_the_blocks_of_a_page_run_one_after_another(
    page: Path, running: RunningGraph, folder: Path, tmp_path: Path
) -> None:
    names: dict[str, Any] = {"__name__": "a_page"}
    printed = ""
    with facegraph_command(tmp_path) as commands:
        for block in runnable(page):
            text = block.text
            for server in SERVERS:
                text = text.replace(server, running.url)
            if block.language == "sh":
                printed += run_shell(block, text, commands)
            else:
                printed += run_python(block, text, names)
    for text, times in PRINTED.get(str(page), {}).items():
        assert printed.count(text) >= times, text


def test_no_block_is_of_a_kind_that_is_neither_run_nor_known() -> None:
    others = [block for block in ALL if block.language not in (*RUN, *NOT_CODE)]
    # Typer writes each command's usage as a block of its own, `$ facegraph compare [OPTIONS] ...`.
    usage = [block for block in others if block.page.name == "command-line.md"]
    assert {block.language for block in usage} == {"console"}
    assert [str(block) for block in others if block not in usage] == []


def test_only_code_has_a_mark_and_the_mark_gives_a_reason() -> None:
    marked = [block for block in ALL if block.not_run is not None]
    assert [str(block) for block in marked if block.language not in RUN] == []
    assert [str(block) for block in marked if len(str(block.not_run).split()) < 2] == []


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_code_is_fenced(page: Path) -> None:
    lines = prose_of(page).splitlines()
    after_a_gap = [line for gap, line in pairwise(lines) if not gap]
    assert [line for line in after_a_gap if line.startswith("    ")] == []
    assert [line for line in lines if line.startswith(("```", "<!-- not run"))] == []


@pytest.mark.parametrize("block", [b for b in ALL if b.language == "json"], ids=str)
def test_a_json_block_is_json(block: Block) -> None:
    json.loads(block.text)


@pytest.mark.parametrize("block", [b for b in ALL if b.language == "yaml"], ids=str)
def test_a_yaml_block_is_yaml_and_its_args_are_a_configuration(block: Block) -> None:
    for document in yaml.safe_load_all(block.text):
        if "args" in document:
            GraphConfig.model_validate(document["args"])
