"""The remains of clusters whose owners were killed."""

import subprocess
import sys
from pathlib import Path

import pytest

from graph.cluster.private import own_folder, remove_remains


def test_remains_of_killed_owners_are_removed_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    haproxy, killed, strange = (
        tmp_path / name for name in ("haproxy", "facegraph-killed", "facegraph-strange")
    )
    haproxy.symlink_to(sys.executable)
    killed.mkdir()
    strange.mkdir()
    (killed / "owner.lock").touch()
    with own_folder() as own:
        left, reader, served = (
            subprocess.Popen([program, "-c", "import time; time.sleep(60)", f"{folder}/a.cfg"])
            for program, folder in ((haproxy, killed), (sys.executable, killed), (haproxy, own))
        )
        try:
            remove_remains()
            assert set(tmp_path.iterdir()) == {haproxy, strange, own}
            assert left.wait(timeout=5) == -9
            assert (reader.poll(), served.poll()) == (None, None)
        finally:
            for process in (left, reader, served):
                process.kill()
                process.wait()
    assert set(tmp_path.iterdir()) == {haproxy, strange}
