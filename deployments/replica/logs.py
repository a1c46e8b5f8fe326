"""Logs of a replica's process."""

import logging


def drop_unwritable_lines() -> None:
    """Let a log line that cannot be written, as on a full disk, be lost.

    By default Python prints the error to stderr. Serve makes a log of stderr, whose line cannot be
    written either, and so on up to the limit of recursion: every line would block the process for
    as long as a thousand take.
    """
    logging.raiseExceptions = False
