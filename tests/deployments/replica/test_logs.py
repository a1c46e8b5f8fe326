"""A log on a full disk: /dev/full refuses every byte."""

import logging
import sys

import pytest

from deployments.replica.logs import drop_unwritable_lines


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
    drop_unwritable_lines()
    logger.info("a line")
    assert stderr.lines == 0
    handler.stream = None  # closing would try to write the lines that it still holds
