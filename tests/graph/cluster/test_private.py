"""The folders of private clusters, and the remains of those whose owners were killed."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from graph.cluster.private import own_folder, remove_remains
from tests.support.processes import processes_of
from tests.support.profiles import ROOT
from tests.support.waiting import TIMEOUT_S, wait_until


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


def test_sigterm_while_ray_starts_leaves_nothing_behind() -> None:
    with TemporaryDirectory(dir="/tmp") as temporary:  # short, for Ray's sockets
        command = subprocess.Popen(
            [sys.executable, "-m", "graph.commands.main", "demo"],
            stderr=subprocess.PIPE,
            text=True,
            cwd=temporary,
            env=os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": temporary},
        )
        wait_until(lambda: any(Path(temporary).glob("facegraph-*/session_latest/sockets/raylet*")))
        command.send_signal(signal.SIGTERM)
        _, errors = command.communicate(timeout=TIMEOUT_S)
        assert (command.returncode, errors.count("\n")) == (143, 1)
        assert os.listdir(temporary) == []
        wait_until(lambda: not processes_of(temporary))


def test_a_token_file_that_is_missing_is_named(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "graph.commands.main", "demo"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "RAY_AUTH_TOKEN_PATH": str(tmp_path / "none")},
    )
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert last.startswith(
        "Ray did not start: RAY_AUTH_TOKEN_PATH is set but file cannot be opened"
    )
    assert f"{tmp_path}/none" in last


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
