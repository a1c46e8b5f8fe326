"""Logs of a replica's process."""

import logging

from deployments.errors import FaceGraphError


class _WithoutMessages(logging.Filter):
    """Log an error of FaceGraph by its code: it is an answer, whose message may name a person."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, FaceGraphError):
            record.msg, record.args = f"{record.getMessage()} {error.code}", ()
            record.exc_info = None
        return True


_WITHOUT_MESSAGES = _WithoutMessages()


def guard_log() -> None:
    """Keep the messages of FaceGraph's errors out of Serve's log, which has every call that fails.

    And let a line that cannot be written, as on a full disk, be lost. By default Python prints the
    error to stderr. Serve makes a log of stderr, whose line cannot be written either, and so on up
    to the limit of recursion: every line would block the process for as long as a thousand take.
    """
    logging.raiseExceptions = False
    logging.getLogger("ray.serve").addFilter(_WITHOUT_MESSAGES)
