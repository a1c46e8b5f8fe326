"""Private clusters that are ended while they start, or do not start."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from graph.cluster.preflight import free_port
from tests.support.processes import processes_of
from tests.support.profiles import ROOT
from tests.support.waiting import TIMEOUT_S, wait_until


@pytest.mark.parametrize(
    ("line", "send"),
    [(["demo"], os.kill), (["serve", "--port", str(free_port())], os.killpg)],
    ids=["demo", "serve"],
)
def test_sigterm_while_ray_starts_leaves_nothing_behind(
    line: list[str], send: Callable[[int, int], None]
) -> None:
    """`serve` gets it with its whole process group, as from a terminal or `timeout`."""
    with TemporaryDirectory(dir="/tmp") as temporary:  # short, for Ray's sockets
        command = subprocess.Popen(
            [sys.executable, "-m", "graph.commands.main", *line],
            stderr=subprocess.PIPE,
            text=True,
            cwd=temporary,
            env=os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": temporary},
            start_new_session=True,
        )
        wait_until(lambda: any(Path(temporary).glob("facegraph-*/session_latest/sockets/raylet*")))
        send(command.pid, signal.SIGTERM)
        _, errors = command.communicate(timeout=TIMEOUT_S)
        starting, licence = errors.splitlines()
        assert starting.startswith("Starting the graph")
        assert licence.startswith("Not for commercial use")
        assert command.returncode == 143
        assert os.listdir(temporary) == []
        wait_until(lambda: not processes_of(temporary))


@pytest.mark.parametrize(
    ("variable", "reason"),
    [
        ("RAY_AUTH_TOKEN_PATH", r"RAY_AUTH_TOKEN_PATH is set but file cannot be opened.*\bnone\b"),
        ("RAY_OVERRIDE_RESOURCES", r"Expecting value: line 1 column 1 \(char 0\)"),
    ],
)
def test_a_cluster_that_does_not_start_says_why(tmp_path: Path, variable: str, reason: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "graph.commands.main", "demo"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), variable: "none"},
    )
    assert done.returncode == 2
    assert re.match(f"Ray did not start: {reason}", done.stderr.splitlines()[-1])
