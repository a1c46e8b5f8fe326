"""The examples of docs/python.md, run one after another as a reader would."""

import re
from pathlib import Path
from shutil import copyfile

import cv2
import numpy as np
import pytest

from graph.cluster.launch import RunningGraph
from tests.conftest import ROOT
from tests.support.photos import GDP, YAOMING, photo_path
from tests.support.terminal import facegraph


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder that the page speaks of."""
    copyfile(photo_path(YAOMING), tmp_path / "a.jpg")
    copyfile(photo_path(GDP), tmp_path / "b.jpg")
    cv2.imwrite(str(tmp_path / "nobody.png"), np.full((100, 100, 3), 90, np.uint8))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_examples_run_and_print_what_the_page_says(
    running: RunningGraph, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "album").mkdir()
    copyfile(folder / "a.jpg", folder / "album" / "same.jpg")
    copyfile(folder / "b.jpg", folder / "album" / "group.jpg")
    done = facegraph("embed", "album", "--out", "faces.parquet", "--url", running.url)
    assert done.code == 0, done.err
    page = (ROOT / "docs" / "python.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 9
    names: dict[str, object] = {"__name__": "a_page"}
    for block in blocks:
        exec(block.replace("http://127.0.0.1:8000", running.url), names)
    printed = capsys.readouterr().out
    assert "target: no face found target" in printed
    assert "[1, 5]" in printed  # faces of a.jpg and b.jpg
    assert "same.jpg 1.0" in printed
