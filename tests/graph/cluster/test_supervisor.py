"""The supervisor of a graph's process, with processes that end as graphs do."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydantic import ValidationError

from graph.cluster.supervisor import FAILED, LOST, RestartPolicy, Supervisor, supervise
from tests.support.profiles import ROOT
from tests.support.waiting import TIMEOUT_S, wait_until

STUBBORN = "stubborn"
# Supervisors of `hold`, one for each file, as the main program that a new process can import.
PROGRAM = """
from functools import partial
import sys
from pathlib import Path
from graph.cluster.supervisor import RestartPolicy, Supervisor, supervise
from tests.graph.cluster.test_supervisor import hold

if __name__ == "__main__":
    policy = RestartPolicy(delay_s=600, longest_delay_s=600)
    report = partial(print, flush=True)
    options = {"policy": policy, "report": report, "stop_timeout_s": float(sys.argv[1])}
    files = map(Path, sys.argv[2:])
    code = supervise(*(Supervisor(hold, file, **options) for file in files))
    assert "ray" not in sys.modules
    sys.exit(code)
"""


def end_with(tell_ready: Callable[[], None], codes: Path) -> None:
    """End with the first code of the file, which it loses; a negative one is a signal. Before the
    one that is `LOST` it is ready."""
    code, *rest = codes.read_text().split()
    codes.write_text(" ".join(rest))
    if int(code) == LOST:
        tell_ready()
    if int(code) < 0:
        os.kill(os.getpid(), -int(code))
    os._exit(int(code))


def wait_for(tell_ready: Callable[[], None], file: Path) -> None:
    """Wait until the file is there, then end as a graph that was ready."""
    tell_ready()
    wait_until(file.exists)


def hold(tell_ready: Callable[[], None], started: Path) -> None:
    """Write the own process id, and wait. SIGTERM ends it as a graph that was ready, unless the
    file's name is `STUBBORN`."""
    is_stubborn = started.name == STUBBORN
    signal.signal(signal.SIGTERM, signal.SIG_IGN if is_stubborn else lambda *_: os._exit(0))
    draft = started.with_suffix(".draft")
    draft.write_text(str(os.getpid()))
    draft.rename(started)
    tell_ready()
    time.sleep(600)


def run(codes: str, folder: Path, policy: RestartPolicy) -> tuple[int, str, list[str]]:
    """The supervisor's exit code, the codes that no process took, and the sentences."""
    file, sentences = folder / "codes", list[str]()
    file.write_text(codes)
    code = supervise(Supervisor(end_with, file, policy=policy, report=sentences.append))
    return code, file.read_text(), sentences


def test_a_lost_graph_is_started_again_until_it_is_stopped(tmp_path: Path) -> None:
    code, left, sentences = run(f"{LOST} -9 0 1", tmp_path, RestartPolicy(delay_s=0))
    assert (code, left) == (0, "1")
    assert sentences == [
        "Starting the graph again: restart 1 of at most 5 in a row",
        "The graph's process has ended with code -9",
        "Starting the graph again: restart 2 of at most 5 in a row",
    ]


def test_the_number_of_restarts_in_a_row_is_bounded(tmp_path: Path) -> None:
    often = " ".join([str(LOST)] * 6)
    bounded = RestartPolicy(max_restarts=2, delay_s=0.1)
    code, left, sentences = run(often, tmp_path, bounded)
    assert (code, len(left.split())) == (FAILED, 3)
    assert sentences[1] == "Starting the graph again in 0.1 s: restart 2 of at most 2 in a row"
    none = RestartPolicy(max_restarts=0)
    assert run(often, tmp_path, none) == (FAILED, " ".join([str(LOST)] * 5), [])


def test_a_healthy_run_is_followed_by_a_first_restart_again(tmp_path: Path) -> None:
    healthy = RestartPolicy(max_restarts=1, healthy_after_s=0)
    code, left, _ = run(f"{LOST} {LOST} {LOST} 0", tmp_path, healthy)
    assert (code, left) == (0, "")


@pytest.mark.parametrize("code", [1, FAILED])
def test_a_graph_that_is_refused_is_not_started_again(tmp_path: Path, code: int) -> None:
    assert run(f"{code} 0", tmp_path, RestartPolicy()) == (code, "0", [])


def test_a_restart_that_fails_is_tried_again(tmp_path: Path) -> None:
    code, left, _ = run(f"{LOST} {FAILED} 0", tmp_path, RestartPolicy(delay_s=0))
    assert (code, left) == (0, "")


def test_graphs_behind_one_that_is_refused_are_not_started(tmp_path: Path) -> None:
    refused, next_one = tmp_path / "refused", tmp_path / "next"
    refused.write_text("1 0")
    next_one.write_text("0")
    sentences = list[str]()
    policy = RestartPolicy()
    graphs = [
        Supervisor(end_with, file, policy=policy, report=sentences.append)
        for file in (refused, next_one)
    ]
    assert supervise(*graphs) == 1
    assert (refused.read_text(), next_one.read_text(), sentences) == ("0", "0", [])


def test_where_one_graph_is_given_up_the_others_go_on(tmp_path: Path) -> None:
    codes, given_up = tmp_path / "codes", tmp_path / "given up"
    codes.write_text(f"{LOST} {LOST} 0")
    sentences = list[str]()

    def report(sentence: str) -> None:
        sentences.append(sentence)
        if "not started again" in sentence:
            given_up.touch()

    policy = RestartPolicy(max_restarts=1)
    lost = Supervisor(end_with, codes, policy=policy, report=report)
    living = Supervisor(wait_for, given_up, policy=policy, report=report)
    assert supervise(lost, living) == 0
    assert sentences == [
        "Starting the graph again: restart 1 of at most 1 in a row",
        "The graph is not started again; the other clusters go on",
    ]
    assert codes.read_text() == "0"


def test_delays_double_up_to_a_bound() -> None:
    policy = RestartPolicy(delay_s=2, longest_delay_s=9)
    assert [policy.delay_of(number) for number in (1, 2, 3, 4, 5, 5000)] == [0, 2, 4, 8, 9, 9]


@pytest.mark.parametrize(
    "values", [{"max_restarts": -1}, {"delay_s": -1}, {"healthy_after_s": float("inf")}, {"x": 1}]
)
def test_a_policy_that_makes_no_sense_is_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        RestartPolicy.model_validate(values)


@contextmanager
def supervising(*started: Path, stop_timeout_s: float = 60.0) -> "Iterator[subprocess.Popen[str]]":
    """The supervisor of a graph for each file, in which that writes its process id; in a process
    group of its own."""
    program = started[0].with_name("program.py")
    program.write_text(PROGRAM)
    with subprocess.Popen(
        [sys.executable, str(program), str(stop_timeout_s), *map(str, started)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        start_new_session=True,
    ) as supervisor:
        try:
            for file in started:
                wait_until(file.exists)
            yield supervisor
        finally:
            supervisor.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_group_stops_the_graphs_in_order(
    tmp_path: Path, number: signal.Signals
) -> None:
    """As Ctrl-C in a terminal."""
    files = [tmp_path / "first", tmp_path / "second"]
    with supervising(*files) as supervisor:
        os.killpg(supervisor.pid, number)
        assert supervisor.wait(TIMEOUT_S) == 0
        assert not any(Path(f"/proc/{file.read_text()}").exists() for file in files)


def test_a_graph_that_does_not_end_after_a_signal_is_killed(tmp_path: Path) -> None:
    started = tmp_path / STUBBORN
    with supervising(started, stop_timeout_s=0.5) as supervisor:
        supervisor.terminate()
        assert supervisor.wait(TIMEOUT_S) == 143
        assert not Path(f"/proc/{started.read_text()}").exists()


def test_a_signal_ends_the_wait_for_a_restart(tmp_path: Path) -> None:
    started = tmp_path / "started"
    with supervising(started) as supervisor:
        for word in ("restart 1", "in 600 s: restart 2"):
            wait_until(started.exists)
            process = int(started.read_text())
            started.unlink()
            os.kill(process, signal.SIGKILL)
            assert supervisor.stdout
            assert "ended with code -9" in supervisor.stdout.readline()
            assert word in supervisor.stdout.readline()
        supervisor.terminate()
        assert supervisor.wait(TIMEOUT_S) == 143


def test_the_graph_ends_in_order_when_its_supervisor_is_killed(tmp_path: Path) -> None:
    started = tmp_path / "started"
    with supervising(started) as supervisor:
        supervisor.kill()
        wait_until(lambda: not Path(f"/proc/{started.read_text()}").exists())
