"""Signals as exceptions, in a process of their own."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.support.profiles import ROOT

WAIT = """
import sys, time
from graph.cluster.signals import signals_raise
try:
    with signals_raise():
        print("ready", flush=True)
        time.sleep(60)
finally:
    print("cleaned", flush=True)
"""
TWICE = """
import os, signal
from graph.cluster.signals import signals_ignored, signals_raise
with signals_raise():
    with signals_ignored():
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), number)
    print("cleaned", flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
"""
IN_RAY = """
import os, signal, sys
from graph.cluster.signals import signals_raise
with signals_raise():
    try:
        if sys.argv[1:]:
            os.kill(os.getpid(), signal.SIGTERM)
    finally:
        sys.exit(1)
"""


def ignore_sigint() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@pytest.mark.parametrize(
    ("number", "before", "code"),
    [
        (signal.SIGTERM, None, 143),
        (signal.SIGINT, None, -signal.SIGINT),
        (signal.SIGINT, ignore_sigint, -signal.SIGINT),  # as in a shell script's background
    ],
)
def test_a_signal_ends_the_block_in_order(
    number: signal.Signals, before: Callable[[], None] | None, code: int
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WAIT],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
        preexec_fn=before,
    )
    assert process.stdout
    with process:
        assert process.stdout.readline() == "ready\n"
        os.kill(process.pid, number)
        assert process.stdout.read() == "cleaned\n"
    assert process.returncode == code


def test_a_further_signal_does_not_interrupt_the_cleaning() -> None:
    done = subprocess.run(
        [sys.executable, "-c", TWICE], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert (done.returncode, done.stdout, done.stderr) == (143, "cleaned\n", "")


@pytest.mark.parametrize(("arguments", "code"), [(["signal"], 143), ([], 1)])
def test_sigterm_keeps_its_exit_code_where_ray_takes_another(
    arguments: list[str], code: int
) -> None:
    done = subprocess.run([sys.executable, "-c", IN_RAY, *arguments], check=False, cwd=ROOT)
    assert done.returncode == code
