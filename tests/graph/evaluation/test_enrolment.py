"""Calls for many photos: concurrency, failures of single photos, retries, other errors."""

import asyncio

import pytest

from deployments.errors import FaceNotFound, ModelUnavailable, Overloaded
from graph.evaluation.enrolment import Failure, ask_all

PHOTOS = [f"{index}.jpg" for index in range(30)]


def test_each_photo_is_sent_once_and_few_at_a_time() -> None:
    asked: list[str] = []
    at_once, most, done = 0, 0, 0

    async def ask(photo: str) -> str:
        nonlocal at_once, most
        asked.append(photo)
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.001)
        at_once -= 1
        return photo.upper()

    def count() -> None:
        nonlocal done
        done += 1

    answers = asyncio.run(ask_all(ask, PHOTOS, 4, count))
    assert list(answers.items()) == [(photo, photo.upper()) for photo in PHOTOS]
    assert sorted(asked) == sorted(PHOTOS)
    assert (most, done) == (4, len(PHOTOS))


def test_a_failed_photo_is_recorded_and_the_others_go_on() -> None:
    async def ask(photo: str) -> str:
        if photo == "3.jpg":
            raise FaceNotFound("image: no face found")
        if photo == "4.jpg":
            raise FileNotFoundError(2, "No such file or directory")
        return photo

    answers = asyncio.run(ask_all(ask, PHOTOS, 4, lambda: None))
    assert answers["3.jpg"] == Failure("3.jpg", "face_not_found", "image: no face found")
    assert answers["4.jpg"] == Failure("4.jpg", "unreadable_file", "No such file or directory")
    assert sum(isinstance(answer, str) for answer in answers.values()) == len(PHOTOS) - 2


def test_a_photo_is_sent_again_while_the_graph_is_overloaded() -> None:
    tries: list[str] = []

    async def ask(photo: str) -> str:
        tries.append(photo)
        if len(tries) < 3:
            raise Overloaded("a stage's queue is full")
        return photo

    assert asyncio.run(ask_all(ask, ["0.jpg"], 1, lambda: None)) == {"0.jpg": "0.jpg"}
    assert len(tries) == 3


def test_any_other_error_ends_the_evaluation_and_leaves_nothing_running() -> None:
    ended: list[str] = []

    async def ask(photo: str) -> str:
        if photo == "2.jpg":
            raise ModelUnavailable("arcface: no weights")
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(photo)
        return photo

    with pytest.raises(ModelUnavailable, match="no weights"):
        asyncio.run(ask_all(ask, PHOTOS, 3, lambda: None))
    assert ended == ["0.jpg", "1.jpg"]
