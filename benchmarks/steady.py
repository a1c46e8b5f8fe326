"""Steady load over HTTP whose right answers are known: every answer is held against them."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import aiohttp
import numpy as np

from benchmarks.harness.load import multipart, photo_640

# Networks round differently by the size of a batch; another request's answer is tenths away.
TOLERANCE = 0.02
# Pairs whose similarities lie far apart, so that one request's answer is never right for another.
PAIRS = (
    ("yaoming.jpg", "yaoming.jpg"),
    ("yaoming.jpg", "players.jpg"),
    ("gdp.jpg", "yaoming.jpg"),
    ("gdp.jpg", "gdp.jpg"),
)


@dataclass(frozen=True)
class Question:
    """A comparison: its body, and the target box and similarity of the right answer."""

    body: bytes
    content_type: str
    box: Sequence[float]
    similarity: float

    def is_answered_by(self, answer: Any) -> bool:
        return abs(answer["similarity"] - self.similarity) < TOLERANCE and bool(
            np.allclose(answer["target"]["box"], self.box, atol=1.0)
        )


@dataclass(frozen=True)
class Sent:
    """A request: when, in s of `time.perf_counter`, and what came of it.

    status: HTTP's, or 0 where the connection broke. right: None unless the status is 200.
    failure: the beginning of an answer with another status, or the kind of the exception.
    """

    began: float
    ended: float
    status: int
    right: bool | None
    retry_after: str | None = None
    failure: str = ""

    @property
    def latency_s(self) -> float:
        return self.ended - self.began


async def ask_questions(url: str) -> list[Question]:
    """The pairs with their answers from a graph that is left in peace."""
    async with aiohttp.ClientSession() as session:
        return [await _asked(session, url, source, target) for source, target in PAIRS]


async def _asked(session: aiohttp.ClientSession, url: str, source: str, target: str) -> Question:
    body, content_type = multipart({"source": photo_640(source), "target": photo_640(target)})
    headers = {"content-type": content_type}
    async with session.post(url, data=body, headers=headers, raise_for_status=True) as response:
        answer = await response.json()
    return Question(body, content_type, answer["target"]["box"], answer["similarity"])


class Load:
    """So many clients, each of which sends one question after the other until it is told to end."""

    def __init__(self, url: str, questions: Sequence[Question]) -> None:
        self.sent: list[Sent] = []
        self._url = url
        self._questions = questions
        self._ended = False

    async def run(self, concurrency: int, seconds: float | None = None) -> None:
        """Until `end`, or for so long."""
        until = None if seconds is None else time.perf_counter() + seconds
        connector = aiohttp.TCPConnector(limit=concurrency)
        timeout = aiohttp.ClientTimeout(total=120)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            await asyncio.gather(*(self._client(session, n, until) for n in range(concurrency)))

    def end(self) -> None:
        self._ended = True

    async def _client(
        self, session: aiohttp.ClientSession, number: int, until: float | None
    ) -> None:
        for turn in count(number):
            if self._ended or (until is not None and time.perf_counter() >= until):
                return
            self.sent.append(await self._send(session, self._questions[turn % len(PAIRS)]))

    async def _send(self, session: aiohttp.ClientSession, question: Question) -> Sent:
        began = time.perf_counter()
        headers = {"content-type": question.content_type}
        try:
            async with session.post(self._url, data=question.body, headers=headers) as response:
                right = None
                if response.status == 200:
                    right = question.is_answered_by(await response.json())
                text = "" if response.status == 200 else (await response.text())[:200]
                retry_after = response.headers.get("retry-after")
                ended = time.perf_counter()
                return Sent(began, ended, response.status, right, retry_after, text)
        except (aiohttp.ClientError, asyncio.TimeoutError) as error:
            return Sent(began, time.perf_counter(), 0, None, None, type(error).__name__)
