"""Answers to a benchmark's requests, and what the graph's log says about the unexpected ones."""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

EXPECTED = ("200", "503")
# The log is read so many seconds after an answer, and its lines from so many before the request.
LOGGED_S = 1.0
_FIELDS = ("asctime", "levelname", "deployment", "message", "exc_text")
_MOST_LINES = 60


@dataclass(frozen=True)
class Answer:
    """The end of a request, sent and answered at s of `time.time`.

    status: HTTP's, or the name of the connection's error. body: of an unexpected status.
    """

    request: str
    began: float
    ended: float
    status: str
    retry_after: str | None = None
    request_id: str | None = None
    body: str = ""

    @property
    def is_unexpected(self) -> bool:
        return self.status.isdigit() and self.status not in EXPECTED


class Answers:
    """All answers. Threads may add some at the same time."""

    def __init__(self, logs: Callable[[], Path]) -> None:
        """logs: the folder in which the graph that runs now writes its log."""
        self._logs = logs
        self.all: list[Answer] = []
        self.unexpected: list[dict[str, Any]] = []

    def add(self, answer: Answer) -> None:
        """An unexpected answer is kept with the lines of its moment, for which this waits."""
        self.all.append(answer)
        if answer.is_unexpected:
            folder = self._logs()
            time.sleep(LOGGED_S)
            lines = list(lines_about(folder, answer))[-_MOST_LINES:]
            self.unexpected.append(asdict(answer) | {"log": lines})
            print(answer.request, answer.status, answer.body, flush=True)

    def statuses(self) -> Counter[str]:
        return Counter(one.status for one in self.all)

    def between(self, began: float, ended: float) -> list[Answer]:
        """Those that were sent and answered in this time."""
        return [one for one in self.all if began <= one.began and one.ended <= ended]


def lines_about(logs: Path, answer: Answer) -> Iterator[Mapping[str, str]]:
    """Serve's log lines about an answer's request, and all warnings and errors of its time."""
    first, last = answer.began - LOGGED_S, answer.ended + LOGGED_S
    for file in sorted((logs / "serve").glob("*.log")):
        for text in file.read_text(errors="replace").splitlines():
            line = _parsed(text)
            is_near = first <= line.get("timestamp_ns", 0) / 1e9 <= last
            is_own = answer.request_id is not None and answer.request_id in text
            if is_own or (is_near and line.get("levelname") != "INFO"):
                yield {name: str(line[name]) for name in _FIELDS if name in line}


def _parsed(text: str) -> dict[str, Any]:
    """A line of Serve's JSON log; empty for any other line."""
    try:
        line = json.loads(text)
    except ValueError:
        return {}
    return line if isinstance(line, dict) else {}
