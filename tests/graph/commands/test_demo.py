"""What `facegraph demo` shows of a graph; `make release-check` runs the whole command."""

from pathlib import Path

import cv2
import pytest

from graph.cluster.launch import RunningGraph
from graph.commands.demo import show


def test_the_demo_finds_the_right_man_and_draws_him(
    running: RunningGraph, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "demo.png"
    assert show(running.url, picture)
    printed = capsys.readouterr().out
    assert f"Wrote {picture}" in printed.replace("\n", "")
    assert "The match is the right man." in printed
    drawn = cv2.imread(str(picture))
    assert drawn is not None
    assert drawn.shape[1] > 500
