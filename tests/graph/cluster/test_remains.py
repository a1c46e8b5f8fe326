"""The folders of private clusters, and the remains of those whose owners were killed."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from graph.cluster.remains import own_folder, remove_remains
from tests.support.waiting import TIMEOUT_S


@pytest.fixture(autouse=True)
def _temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def test_remains_of_killed_owners_are_removed_and_nothing_else(tmp_path: Path) -> None:
    killed, strange = tmp_path / "facegraph-killed", tmp_path / "facegraph-strange"
    killed.mkdir()
    strange.mkdir()
    (killed / "owner.lock").touch()
    with own_folder() as own:
        left, served, foreign = (sleeper(killed), sleeper(own), sleeper(strange))
        try:
            remove_remains()
            assert set(tmp_path.iterdir()) == {strange, own}
            assert left.wait(timeout=TIMEOUT_S) == -9
            assert (served.poll(), foreign.poll()) == (None, None)
        finally:
            for process in (left, served, foreign):
                process.kill()
                process.wait()
    assert set(tmp_path.iterdir()) == {strange}


def sleeper(folder: Path) -> subprocess.Popen[bytes]:
    """A process with the mark of the cluster in the folder."""
    environment = os.environ | {"FACEGRAPH_CLUSTER_FOLDER": str(folder)}
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], env=environment)


def test_a_folder_of_another_user_and_what_it_links_to_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, theirs = tmp_path / "mine.txt", tmp_path / "facegraph-theirs"
    mine.write_text("kept")
    theirs.mkdir()
    (theirs / "owner.lock").symlink_to(mine)
    other = os.getuid() + 1
    monkeypatch.setattr("os.getuid", lambda: other)
    remove_remains()
    assert (theirs.is_dir(), mine.read_text()) == (True, "kept")


def test_folders_that_are_made_at_the_same_time_stay_until_their_ends() -> None:
    def make(_: int) -> bool:
        remove_remains()
        with own_folder() as folder:
            remove_remains()
            return folder.exists()

    with ThreadPoolExecutor(6) as threads:
        assert all(threads.map(make, range(60)))
