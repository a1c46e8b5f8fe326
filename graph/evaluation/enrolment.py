"""Enrolment: each photo is sent to the graph once, many concurrently; failures are recorded."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from tenacity import AsyncRetrying
from tenacity.retry import retry_if_exception_type
from tenacity.stop import stop_after_attempt
from tenacity.wait import wait_random_exponential

from deployments.contracts import FaceChoice, FloatArray
from deployments.errors import PHOTO_ERRORS, DeadlineExceeded, Overloaded
from graph.evaluation.detection import FoundBoxes
from graph.schemas import DetectResponse, EmbeddedFace, EmbedResponse, FaceEmbedding

UNREADABLE = "unreadable_file"

Answer = TypeVar("Answer")
# Callback: called after each photo.
Done = Callable[[], None]


class Graph(Protocol):
    """The methods of a FaceGraph client that evaluation calls."""

    async def detect_async(self, image: Path) -> DetectResponse: ...

    async def embed_async(
        self, image: Path, *, recognizers: list[str] | None = None, faces: FaceChoice = "largest"
    ) -> EmbedResponse: ...


@dataclass(frozen=True, slots=True)
class Failure:
    """A failure to enrol (FTE): a photo that gave no face. code: an error's code, or
    `unreadable_file`."""

    photo: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Enrolment:
    """The enrolled photos, and those that failed.

    faces: by photo, the largest face with an embedding per recognizer.
    """

    faces: Mapping[str, EmbeddedFace]
    failures: Sequence[Failure]

    def vectors(self, recognizer: str) -> dict[str, FloatArray]:
        """The recognizer's embeddings by photo, float32 [D] of length 1."""
        return {
            photo: np.asarray(face.embeddings[recognizer].embedding, np.float32)
            for photo, face in self.faces.items()
        }

    def uncertainties(self, recognizer: str) -> dict[str, float]:
        """Uncertainties by photo; empty for a recognizer that gives none."""
        return self._values(recognizer, lambda embedding: embedding.uncertainty)

    def qualities(self, recognizer: str) -> dict[str, float]:
        """Qualities of the faces by photo, 0 to 1, as min_quality limits them; empty if the graph
        measures none."""
        return self._values(recognizer, lambda embedding: embedding.quality)

    def _values(
        self, recognizer: str, value: Callable[[FaceEmbedding], float | None]
    ) -> dict[str, float]:
        values = {photo: value(face.embeddings[recognizer]) for photo, face in self.faces.items()}
        return {photo: known for photo, known in values.items() if known is not None}


async def enrol(
    graph: Graph,
    root: Path,
    photos: Sequence[str],
    recognizers: Sequence[str],
    *,
    concurrency: int,
    done: Done,
) -> Enrolment:
    """Embed the largest face of each photo under `root` with every recognizer.

    Raises every error that no single photo causes, such as ModelUnavailable.
    """

    async def embed(photo: str) -> EmbeddedFace:
        answer = await graph.embed_async(root / photo, recognizers=list(recognizers))
        return answer.faces[0]

    answers = await ask_all(embed, photos, concurrency, done)
    return Enrolment(*_parted(answers))


async def detect(
    graph: Graph, root: Path, photos: Sequence[str], *, concurrency: int, done: Done
) -> tuple[dict[str, FoundBoxes], list[Failure]]:
    """Detect all faces of each photo under `root`: boxes by photo, and the photos that failed."""

    async def find(photo: str) -> FoundBoxes:
        return _found(await graph.detect_async(root / photo))

    return _parted(await ask_all(find, photos, concurrency, done))


async def ask_all(
    ask: Callable[[str], Awaitable[Answer]], photos: Sequence[str], concurrency: int, done: Done
) -> dict[str, Answer | Failure]:
    """Call `ask` for each photo, at most `concurrency` at once.

    Returns answers and failures by photo, in the order of the photos. An error that no single photo
    causes cancels the other calls and is raised.
    """
    waiting = iter(photos)
    answers: dict[str, Answer | Failure] = {}

    async def work() -> None:
        for photo in waiting:
            answers[photo] = await _answer_or_failure(ask, photo)
            done()

    workers = [asyncio.create_task(work()) for _ in range(concurrency)]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
    return {photo: answers[photo] for photo in photos}


def _while_busy() -> AsyncRetrying:
    """Up to six attempts with exponential backoff while the graph is overloaded."""
    return AsyncRetrying(
        retry=retry_if_exception_type((Overloaded, DeadlineExceeded)),
        stop=stop_after_attempt(6),
        wait=wait_random_exponential(multiplier=0.5, max=10),
        reraise=True,
    )


async def _answer_or_failure(
    ask: Callable[[str], Awaitable[Answer]], photo: str
) -> Answer | Failure:
    try:
        async for attempt in _while_busy():
            with attempt:
                return await ask(photo)
        raise AssertionError("tenacity ends with an answer or an error")
    except PHOTO_ERRORS as error:
        return Failure(photo, error.code, error.message)
    except OSError as error:
        return Failure(photo, UNREADABLE, error.strerror or type(error).__name__)


def _parted(
    answers: Mapping[str, Answer | Failure],
) -> tuple[dict[str, Answer], list[Failure]]:
    """The answers by photo, and the failures."""
    failures = [answer for answer in answers.values() if isinstance(answer, Failure)]
    good = {photo: answer for photo, answer in answers.items() if not isinstance(answer, Failure)}
    return good, failures


def _found(answer: DetectResponse) -> FoundBoxes:
    """The response's boxes as x y width height; its faces are sorted by falling score."""
    corners = np.asarray([face.box for face in answer.faces], np.float64).reshape(-1, 4)
    boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
    return FoundBoxes(boxes, np.asarray([face.score for face in answer.faces], np.float64))
