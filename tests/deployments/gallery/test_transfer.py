"""Export and import of galleries."""

import asyncio
import json
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest

from deployments.errors import WrongModel
from deployments.gallery.contracts import NewPerson
from deployments.gallery.store import Store
from tests.support.galleries import (
    KEY,
    axis,
    embedded,
    enrol,
    identities,
    opened,
    source,
    with_gallery,
)


async def exported(store: Store, gallery: str, *, limit: int = 2) -> list[dict[str, Any]]:
    lines, cursor = b"", None
    while True:
        page = await store.export_page(gallery, cursor=cursor, limit=limit)
        lines, cursor = lines + page.lines, page.next_cursor
        if cursor is None:
            return [json.loads(line) for line in lines.splitlines()]


def ndjson(lines: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def test_an_export_comes_back_with_every_byte(dsn: str) -> None:
    async def run() -> None:
        async with opened(dsn) as store:
            await with_gallery(store)
            until = datetime.now(timezone.utc) + timedelta(days=1)
            for number, faces in enumerate(identities(5, faces=3)):
                person = NewPerson(f"p{number}", "Анна", {"n": number, "x": 0.1}, until)
                await store.put_person("staff", person, key=KEY)
                await store.enrol(
                    [embedded(face) for face in faces],
                    "staff",
                    person.id,
                    [source(f"{number} {index}") for index in range(3)],
                    key=KEY,
                )
            # Signs of zero, and the smallest numbers that there are.
            odd = axis(0)
            odd[1:3] = (-0.0, np.float32(1e-45))
            await enrol(store, "odd", odd)
            header, *persons = await exported(store, "staff")
            assert [len(person["faces"]) for person in persons] == [1, 3, 3, 3, 3, 3]
            await with_gallery(store, "copy")
            done = await store.import_lines("copy", ndjson([header, *persons]), key=KEY)
            assert (done.persons, done.faces, done.refused) == (6, 16, ())
            copied_header, *copied = await exported(store, "copy", limit=100)
            assert copied == persons
            assert copied_header == {**header, "gallery": "copy"}
            again = await store.import_lines("copy", ndjson([header, *persons]), key=KEY)
            assert (again.persons, again.faces, again.refused) == (0, 0, ())

    asyncio.run(run())


def test_a_bad_line_is_refused_alone_with_its_number(dsn: str) -> None:
    async def run() -> None:
        async with opened(dsn) as store:
            await with_gallery(store)
            await enrol(store, "anna", axis(0))
            _, anna = await exported(store, "staff")
            [face] = anna["faces"]
            lines = [
                {**anna, "person": "berta"},  # her face is Anna's
                {"person": "carla", "faces": [{**face, "embedding": "AAAA"}]},
                {"person": "dora", "age": 7},
                {"person": "emma", "faces": [{**face, "id": "e-1"}]},
                {"person": "fanny", "name": "Fan\0ny"},  # as the routes refuse it
                {"person": "grete", "metadata": {"team": "x" * 1025}},
            ]
            content = ndjson(lines) + b"{\n"
            done = await store.import_lines("staff", content, key=KEY)
            assert [line.number for line in done.refused] == [1, 2, 3, 5, 6, 7]
            reasons = " ".join(line.reason for line in done.refused)
            for part in ("another person's", "512 float32", "age", "NUL", "1024 char", "not JSON"):
                assert part in reasons
            assert "AAAA" not in reasons
            assert (done.persons, done.faces) == (1, 1)
            assert [one.id for one in await store.list_faces("staff", "emma")] == ["e-1"]

    asyncio.run(run())


def test_an_export_of_another_model_is_refused(dsn: str) -> None:
    async def run() -> None:
        async with opened(dsn) as store:
            await with_gallery(store)
            await with_gallery(store, "new", version="arcface-mbf@2", threshold=0.5)
            lines = await exported(store, "staff")
            with pytest.raises(WrongModel):
                await store.import_lines("new", ndjson(lines), key=KEY)
            # A gallery without a model yet takes the header's.
            await with_gallery(store, "empty", version=None)
            await store.import_lines("empty", ndjson(lines), key=KEY)
            settings = (await store.get_gallery("empty")).settings
            assert settings.version == (await store.get_gallery("staff")).settings.version

    asyncio.run(run())


def test_two_imports_of_the_same_lines_store_them_once(dsn: str) -> None:
    async def run() -> None:
        async with opened(dsn) as one, opened(dsn) as other:
            await with_gallery(one)
            await with_gallery(one, "copy")
            for number, [face] in enumerate(identities(20, faces=1)):
                await enrol(one, f"p{number}", face)
            _, *persons = await exported(one, "staff")
            done = await asyncio.gather(
                one.import_lines("copy", ndjson(persons), key=KEY),
                other.import_lines("copy", ndjson(persons[::-1]), key=KEY),
            )
            assert sum(part.faces for part in done) == 20
            assert (await one.get_gallery("copy")).faces == 20

    asyncio.run(run())
