"""The log on a full disk, where /dev/full refuses every byte, and of errors that name a person."""

import logging
import sys

import pytest

from deployments.errors import UnknownPerson
from deployments.replica.logs import guard_log


class ToLog:
    """A stderr that becomes lines of a log, as that of a replica."""

    def __init__(self, logger: logging.Logger) -> None:
        self.lines = 0
        self._logger = logger

    def write(self, text: str) -> None:
        self.lines += 1
        self._logger.error(text)


def test_a_line_that_cannot_be_written_is_lost_and_costs_no_further_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    logger = logging.Logger("full")
    handler = logging.FileHandler("/dev/full")
    logger.addHandler(handler)
    stderr = ToLog(logger)
    monkeypatch.setattr(sys, "stderr", stderr)
    monkeypatch.setattr(logging, "raiseExceptions", True)
    with pytest.raises(RecursionError):
        logger.info("a line")
    assert stderr.lines > 50

    stderr.lines = 0
    guard_log()
    logger.info("a line")
    assert stderr.lines == 0
    handler.stream = None  # closing would try to write the lines that it still holds


def test_an_error_of_ours_is_logged_by_its_code_and_others_with_their_traceback(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", True)
    guard_log()
    logger = logging.getLogger("ray.serve")
    monkeypatch.setattr(logger, "propagate", True)
    for error in (UnknownPerson("gallery staff has no person 'anna'"), KeyError("a bug")):
        logger.error("Request failed.", exc_info=error)
    assert "Request failed. unknown_person" in caplog.text
    assert "anna" not in caplog.text
    assert "KeyError: 'a bug'" in caplog.text
