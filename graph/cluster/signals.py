"""SIGINT and SIGTERM as exceptions, so that a process that owns a cluster ends it first."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType
from typing import NoReturn

Handler = Callable[[int, FrameType | None], object] | signal.Handlers

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# SIGTERM, once it has come.
_received: set[int] = set()


@contextmanager
def signals_raise() -> Iterator[None]:
    """Within the block SIGINT raises KeyboardInterrupt and SIGTERM SystemExit(143).

    SIGINT does so too where it was ignored, as in the background of a shell script. Only the main
    thread can receive signals; in another one nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = [signal.getsignal(number) for number in _SIGNALS]
    catch_signals()
    try:
        yield
    except SystemExit as stopped:
        if _received:  # within a call of Ray the code becomes 1
            stopped.code = 128 + _received.pop()
        raise
    finally:
        _received.clear()
        for number, handler in zip(_SIGNALS, before, strict=True):
            signal.signal(number, handler)


def catch_signals() -> None:
    """Install the handlers of `signals_raise`: `ray.init` replaces that of SIGTERM by one that
    prints a C++ stack."""
    if threading.current_thread() is threading.main_thread():
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, _exit)


def signals_ignored() -> AbstractContextManager[None]:
    """Let the block finish: SIGINT and SIGTERM do nothing."""
    return signals_handled(signal.SIG_IGN)


@contextmanager
def signals_handled(handler: Handler) -> Iterator[None]:
    """Within the block `handler` takes SIGINT and SIGTERM. In a thread other than the main one,
    which receives no signals, nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = [signal.signal(number, handler) for number in _SIGNALS]
    try:
        yield
    finally:
        for number, former in zip(_SIGNALS, before, strict=True):
            signal.signal(number, former)


def _exit(number: int, frame: FrameType | None) -> NoReturn:
    _received.add(number)
    sys.exit(128 + number)
