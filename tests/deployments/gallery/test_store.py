"""Galleries, persons and faces in an embedded PostgreSQL."""

import asyncio
import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import numpy as np
import psycopg
import pytest

from configs.gallery import SearchConfig
from deployments.contracts import FloatArray
from deployments.errors import (
    GalleryConflict,
    UnknownFace,
    UnknownGallery,
    UnknownPerson,
    WrongModel,
)
from deployments.gallery.contracts import GallerySettings, NewPerson, SearchQuery
from deployments.gallery.database import Connection
from deployments.gallery.store import Store
from tests.support.galleries import (
    KEY,
    RECOGNIZER,
    VERSION,
    axis,
    embedded,
    enrol,
    opened,
    source,
    with_gallery,
)


def test_a_write_is_found_by_the_next_search_of_another_replica(dsn: str) -> None:
    async def run() -> None:
        async with opened(dsn) as one, opened(dsn) as other:
            await with_gallery(one)
            for number in range(20):
                await enrol(one, f"p{number}", axis(number))
                found = await other.search([embedded(axis(number))], SearchQuery("staff"))
                best = found.faces[0].candidates[0]
                assert (best.person, best.similarity) == (f"p{number}", 1.0)
            await one.delete_person("staff", "p3", key=KEY)
            found = await other.search([embedded(axis(3))], SearchQuery("staff"))
            assert "p3" not in [candidate.person for candidate in found.faces[0].candidates]

    asyncio.run(run())


def test_of_two_changes_at_a_time_none_is_lost(dsn: str) -> None:
    settings = GallerySettings("staff", RECOGNIZER, 0.47, VERSION, "off", min_margin=0.2)

    async def run() -> None:
        async with opened(dsn) as one, opened(dsn) as other:
            await with_gallery(one, persons=("anna",))
            before = await one.get_gallery("staff")
            async with one.database.transaction() as first:
                await first.execute("SELECT FROM galleries FOR UPDATE")
                await first.execute("SELECT FROM persons FOR UPDATE")
                changes = asyncio.gather(
                    one.put_gallery(settings, ["threshold"], key=KEY),
                    other.put_gallery(settings, ["min_margin"], key=KEY),
                    one.change_person("staff", "anna", {"name": "Anna"}, key=KEY),
                    other.change_person("staff", "anna", {"metadata": {"floor": 3}}, key=KEY),
                )
                while await waiting(first) < 4:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            await changes
            after = await one.get_gallery("staff")
            assert after.settings == replace(before.settings, threshold=0.47, min_margin=0.2)
            anna = await one.get_person("staff", "anna")
            assert (anna.name, anna.metadata) == ("Anna", {"floor": 3})
            newest = await one.audit("staff", limit=1)
            await one.put_gallery(settings, ["threshold"], key=KEY)  # sent again
            assert await one.audit("staff", limit=1) == newest

    asyncio.run(run())


async def waiting(connection: Connection) -> int:
    """The number of the transactions that wait for a lock."""
    row = await (
        await connection.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
    ).fetchone()
    assert row is not None
    return int(row[0])


def test_a_decision_is_by_threshold_and_margin(dsn: str) -> None:
    async def run() -> None:
        async with opened(dsn) as store:
            settings = GallerySettings(
                "staff", RECOGNIZER, 0.5, VERSION, "off", min_margin=0.1, min_quality=0.5
            )
            await store.put_gallery(settings, key=KEY)
            nobody = await store.search([embedded(axis(0))], SearchQuery("staff"))
            assert nobody.faces[0].decision == "no_match"
            await enrol(store, "anna", axis(0))
            await enrol(store, "berta", axis(0, towards=1, cosine=0.95))

            async def decision(*vectors: np.ndarray, **query: float) -> list[tuple[str, ...]]:
                result = await store.search(
                    [embedded(*vectors)],
                    SearchQuery("staff", threshold=query.get("threshold")),
                )
                return [(face.decision, *face.doubts) for face in result.faces]

            # To Anna 1 and to Berta 0.95; to Berta 1; to Berta 0.31 alone.
            far = axis(1)
            assert await decision(axis(0), far) == [("uncertain", "margin"), ("no_match",)]
            # 0.8 to Anna; to Berta 0.8 x 0.95 - 0.6 x 0.312 = 0.573.
            apart = axis(0, towards=1, cosine=0.8) * np.where(np.arange(512) == 1, -1, 1)
            assert await decision(apart.astype(np.float32)) == [("match",)]
            assert await decision(far, threshold=0.3) == [("match",)]

    asyncio.run(run())


@pytest.mark.parametrize("scoring", ["best", "centroid"])
def test_a_person_counts_by_the_best_face_or_by_the_centroid(dsn: str, scoring: str) -> None:
    async def run() -> None:
        async with opened(dsn) as store:
            await with_gallery(store, scoring=scoring)  # type: ignore[arg-type]
            await enrol(store, "anna", axis(0), axis(1))
            await enrol(store, "berta", axis(0, towards=2, cosine=0.8))
            found = await store.search([embedded(axis(0))], SearchQuery("staff"))
            given = {one.person: one.similarity for one in found.faces[0].candidates}
            # The centroid of two axes is at 45 degrees to both.
            anna = 1.0 if scoring == "best" else 0.5**0.5
            assert given == pytest.approx({"anna": anna, "berta": 0.8}, abs=1e-6)
            assert list(given) == sorted(given, key=lambda person: -given[person])
            checked = await store.verify([embedded(axis(0))], "staff", "anna")
            assert checked.similarity == pytest.approx(anna, abs=1e-6)
            assert checked.face == found.faces[0].candidates[list(given).index("anna")].face

    asyncio.run(run())


@pytest.mark.parametrize("exact_up_to", [0, 2000])
def test_a_search_finds_all_persons_in_order_with_filters(dsn: str, exact_up_to: int) -> None:
    """The filtered persons are the least similar ones, behind more faces than candidates."""

    async def run() -> None:
        search = SearchConfig(exact_up_to=exact_up_to, candidates=10)
        async with opened(dsn, search=search) as store:
            await with_gallery(store)
            for number in range(60):
                cosine = 1 - number / 100
                team = "night" if number >= 50 else "day"
                await store.put_person(
                    "staff", NewPerson(f"p{number:02d}", metadata={"team": team}), key=KEY
                )
                vector = axis(0, towards=number + 1, cosine=cosine)
                await store.enrol(
                    [embedded(vector)], "staff", f"p{number:02d}", [source(str(number))], key=KEY
                )
            query = SearchQuery("staff", top_k=3, filter={"team": "night"})
            found = (await store.search([embedded(axis(0))], query)).faces[0].candidates
            assert [one.person for one in found] == ["p50", "p51", "p52"]
            assert found[0].similarity == pytest.approx(0.5, abs=1e-6)
            assert found[0].metadata == {"team": "night"}

    asyncio.run(run())


async def is_in_no_answer(store: Store, person: str, face: FloatArray) -> None:
    photo = [embedded(face)]
    found = await store.search(photo, SearchQuery("staff"))
    assert person not in {one.person for one in found.faces[0].candidates}
    assert person not in {one.id for one in (await store.list_persons("staff", limit=10)).persons}
    assert f'"{person}"' not in (await store.export_page("staff", limit=10)).lines.decode()
    for call in (
        store.get_person("staff", person),
        store.list_faces("staff", person),
        store.verify(photo, "staff", person),
        store.change_person("staff", person, {"name": "again"}, key=KEY),
        store.enrol(photo, "staff", person, [source("new")], key=KEY),
        store.merge_persons("staff", person, "other", key=KEY),
        store.move_person("staff", person, "guests", key=KEY),
    ):
        with pytest.raises(UnknownPerson):
            await call


def test_the_id_of_a_person_whose_time_is_over_is_free(dsn: str) -> None:
    async def run() -> None:
        async with opened(dsn) as store:
            await with_gallery(store)
            past = {"expires_at": datetime.now(timezone.utc) - timedelta(seconds=1)}
            for person in ("anna", "berta"):
                await enrol(store, person, axis(0))
                await store.change_person("staff", person, past, key=KEY)
            anna = await store.put_person("staff", NewPerson("anna", "Anna Two"), key=KEY)
            assert (anna.name, anna.faces, anna.expires_at) == ("Anna Two", 0, None)
            done = await store.import_lines("staff", b'{"person": "berta"}', key=KEY)
            assert (done.persons, done.refused) == (1, ())
            assert (await store.get_person("staff", "berta")).faces == 0
            found = await store.search([embedded(axis(0))], SearchQuery("staff"))
            assert found.faces[0].candidates == ()
            actions = [one.action for one in (await store.audit("staff", limit=4)).entries]
            assert actions == ["import", "expire", "put_person", "expire"]

    asyncio.run(run())


def test_other_galleries_and_expired_persons_are_never_found(dsn: str) -> None:
    async def run() -> None:
        async with opened(dsn) as store:
            await with_gallery(store)
            await with_gallery(store, "guests")
            await enrol(store, "anna", axis(0), gallery="guests")
            await enrol(store, "berta", axis(0))
            past = datetime.now(timezone.utc) - timedelta(seconds=1)
            await store.change_person("staff", "berta", {"expires_at": past}, key=KEY)
            await is_in_no_answer(store, "berta", axis(0))
            assert await store.retain() == 1
            await is_in_no_answer(store, "berta", axis(0))
            entry = (await store.audit("staff", limit=1)).entries[0]
            assert (entry.key, entry.action, entry.persons) == ("retention", "expire", ("berta",))
            assert (await store.get_person("guests", "anna")).faces == 1
            many = [{"person": f"p{n}", "expires_at": past.isoformat()} for n in range(1001)]
            lines = "\n".join(map(json.dumps, many)).encode()
            assert (await store.import_lines("guests", lines, key=KEY)).persons == 1001
            assert await store.retain() == 1001

    asyncio.run(run())


def test_calls_may_be_repeated(dsn: str) -> None:
    async def run() -> None:
        async with opened(dsn) as store:
            await with_gallery(store)
            person = NewPerson("anna", "Anna", {"team": "night"})
            made = await store.put_person("staff", person, key=KEY)
            assert await store.put_person("staff", person, key=KEY) == made
            with pytest.raises(GalleryConflict):
                await store.put_person("staff", NewPerson("anna", "Berta"), key=KEY)
            photo, hashed = [embedded(axis(0))], [source("a")]
            first = await store.enrol(photo, "staff", "anna", hashed, key=KEY)
            again = await store.enrol(photo, "staff", "anna", hashed, key=KEY)
            assert (first.photos[0].outcome, again.photos[0].outcome) == ("enrolled", "exists")
            assert again.photos[0].face == first.photos[0].face
            assert (first.faces, again.faces) == (1, 1)
            assert (await store.delete_person("staff", "anna", key=KEY)).deleted
            assert not (await store.delete_person("staff", "anna", key=KEY)).deleted

    asyncio.run(run())


def test_writers_of_one_person_lose_nothing_and_keep_the_limit(dsn: str) -> None:
    async def run() -> None:
        async with opened(dsn) as one, opened(dsn) as other:
            await with_gallery(one, max_faces_per_person=20, persons=("anna",))

            async def write(number: int) -> str:
                store = (one, other)[number % 2]
                done = await store.enrol(
                    [embedded(axis(number))], "staff", "anna", [source(str(number))], key=KEY
                )
                return done.photos[0].outcome

            outcomes = await asyncio.gather(*(write(number) for number in range(30)))
            assert outcomes.count("enrolled") == 20
            assert outcomes.count("refused") == 10
            assert (await other.get_person("staff", "anna")).faces == 20
            faces = await one.list_faces("staff", "anna")
            recorded = [
                face
                for entry in (await one.audit("staff", limit=100)).entries
                for face in entry.faces
            ]
            assert sorted(recorded) == sorted(face.id for face in faces)

    asyncio.run(run())


def test_enrolment_refuses_another_persons_face_and_one_unlike_the_person(dsn: str) -> None:
    async def run() -> None:
        async with opened(dsn) as store:
            await with_gallery(store, policy="standard", persons=("anna", "berta"))
            photos = [embedded(axis(0)), embedded(axis(1)), embedded()]
            done = await store.enrol(photos, "staff", "anna", list("abc"), key=KEY)
            outcomes = [(one.outcome, *(p.reason for p in one.problems)) for one in done.photos]
            assert outcomes == [
                ("enrolled",),
                ("refused", "unlike_person"),
                ("refused", "face_not_found"),
            ]
            near = embedded(axis(0, towards=1, cosine=0.9))
            [refused] = (await store.enrol([near], "staff", "berta", ["d"], key=KEY)).photos
            [problem] = refused.problems
            assert (problem.reason, problem.person) == ("another_person", "anna")
            assert problem.similarity == pytest.approx(0.9, abs=1e-6)

    asyncio.run(run())


def test_persons_are_merged_and_moved_with_their_faces(dsn: str) -> None:
    async def run() -> None:
        async with opened(dsn) as store:
            await with_gallery(store)
            await with_gallery(store, "guests")
            await enrol(store, "anna", axis(0))
            await enrol(store, "ann", axis(1))
            for _ in range(2):  # the second call is a repeated one
                merged = await store.merge_persons("staff", "anna", "ann", key=KEY)
                assert merged.faces == 2
            with pytest.raises(UnknownPerson):
                await store.get_person("staff", "ann")
            await store.put_person("staff", NewPerson("berta"), key=KEY)
            [face, _] = await store.list_faces("staff", "anna")
            await store.move_face("staff", "anna", face.id, "berta", key=KEY)
            moved = await store.get_person("staff", "berta"), await store.audit("staff", limit=9)
            assert await store.move_face("staff", "anna", face.id, "berta", key=KEY) == face
            await store.change_person("staff", "berta", {"metadata": {}}, key=KEY)
            assert moved == (
                await store.get_person("staff", "berta"),
                await store.audit("staff", limit=9),
            )
            assert [one.id for one in await store.list_faces("staff", "berta")] == [face.id]
            await store.move_person("staff", "berta", "guests", key=KEY)
            found = await store.search([embedded(axis(0))], SearchQuery("guests"))
            assert found.faces[0].candidates[0].person == "berta"
            found = await store.search([embedded(axis(0))], SearchQuery("staff"))
            assert [one.person for one in found.faces[0].candidates] == ["anna"]
            await with_gallery(store, "others", version="another")
            with pytest.raises(WrongModel):
                await store.move_person("guests", "berta", "others", key=KEY)
            # A gallery that has no face yet takes the model of the first.
            await with_gallery(store, "new", version=None)
            await store.move_person("guests", "berta", "new", key=KEY)
            assert (await store.get_gallery("new")).settings.version == VERSION

    asyncio.run(run())


@pytest.mark.parametrize("size", [128, 1024])
def test_a_gallery_holds_embeddings_of_one_length(dsn: str, size: int) -> None:
    async def run() -> None:
        async with opened(dsn, search=SearchConfig(exact_up_to=0, candidates=10)) as store:
            for name in ("staff", "copy"):
                await with_gallery(store, name, embedding_size=size, scoring="centroid")
            # Their codes are as near; a search by codes would have 40 candidates.
            for number in reversed(range(60)):
                vector = axis(0, towards=number + 1, cosine=1 - number / 100, size=size)
                await enrol(store, f"p{number:02d}", vector)
            query = SearchQuery("staff", top_k=2)
            found = (await store.search([embedded(axis(0, size=size))], query)).faces[0]
            assert [one.person for one in found.candidates] == ["p00", "p01"]
            assert found.candidates[1].similarity == pytest.approx(0.99, abs=1e-6)
            page = await store.export_page("staff", limit=100)
            assert (await store.import_lines("copy", page.lines, key=KEY)).faces == 60
            copied = await store.export_page("copy", limit=100)
            assert copied.lines.splitlines()[1:] == page.lines.splitlines()[1:]
            checked = await store.verify([embedded(axis(0, size=size))], "copy", "p50")
            assert checked.similarity == pytest.approx(0.5, abs=1e-6)
            # Embeddings of another length, with a version or without.
            await with_gallery(store, "others")
            for version in (VERSION, None):
                with pytest.raises(WrongModel, match=f"of {size} numbers, not of 512"):
                    await store.search([embedded(axis(0), version=version)], query)
            with pytest.raises(WrongModel, match="of 512 numbers"):
                await store.move_person("staff", "p00", "others", key=KEY)
            done = await store.import_lines("others", page.lines, key=KEY)
            assert (done.faces, len(done.refused)) == (0, 60)
            assert f"expected 512 float32 numbers, got {size}" in done.refused[0].reason

    asyncio.run(run())


def test_an_empty_gallery_takes_the_length_of_another_model(dsn: str) -> None:
    async def run() -> None:
        async with opened(dsn) as store:
            for size in (512, 128):
                await with_gallery(store, version=None, embedding_size=size)
            await enrol(store, "anna", axis(0, size=128))
            await with_gallery(store, version=None)
            assert (await store.get_gallery("staff")).settings.embedding_size == 128

    asyncio.run(run())


def test_a_gallery_is_pinned_to_the_model_of_its_first_faces(dsn: str) -> None:
    async def run() -> None:
        async with opened(dsn) as store:
            await with_gallery(store, version=None, persons=("anna",))
            await enrol(store, "anna", axis(0))
            assert (await store.get_gallery("staff")).settings.version == VERSION
            with pytest.raises(WrongModel, match="gallery enrol staff-2 FOLDER"):
                await store.search([embedded(axis(0), version="other")], SearchQuery("staff"))
            with pytest.raises(WrongModel):
                await store.enrol(
                    [embedded(axis(0), version="other")], "staff", "anna", ["b"], key=KEY
                )
            with pytest.raises(GalleryConflict):
                await with_gallery(store, version="other")
            # Without a version, the settings change and the pin stays.
            await with_gallery(store, version=None, threshold=0.7)
            settings = (await store.get_gallery("staff")).settings
            assert (settings.threshold, settings.version) == (0.7, VERSION)

    asyncio.run(run())


def test_persons_are_listed_in_pages_by_a_filter(dsn: str) -> None:
    async def run() -> None:
        async with opened(dsn) as store:
            await with_gallery(store)
            for number in range(7):
                metadata = {"odd": bool(number % 2), "number": number}
                await store.put_person("staff", NewPerson(f"p{number}", None, metadata), key=KEY)
            pages: list[list[str]] = []
            cursor = None
            while not pages or cursor:
                page = await store.list_persons("staff", limit=3, cursor=cursor)
                cursor = page.next_cursor
                pages.append([person.id for person in page.persons])
            assert pages == [["p0", "p1", "p2"], ["p3", "p4", "p5"], ["p6"]]
            odd = await store.list_persons("staff", limit=9, filter={"odd": True})
            assert [person.id for person in odd.persons] == ["p1", "p3", "p5"]

    asyncio.run(run())


def test_what_is_not_there_has_an_error_of_its_own(dsn: str) -> None:
    async def run() -> None:
        async with opened(dsn) as store:
            with pytest.raises(UnknownGallery, match="'staff'"):
                await store.search([embedded(axis(0))], SearchQuery("staff"))
            await with_gallery(store, persons=("anna",))
            with pytest.raises(UnknownPerson, match="'berta'"):
                await store.verify([embedded(axis(0))], "staff", "berta")
            with pytest.raises(UnknownFace):
                await store.verify([embedded(axis(0))], "staff", "anna")
            assert not (await store.delete_face("staff", "anna", "none", key=KEY)).deleted
            assert not (await store.delete_gallery("guests", key=KEY)).deleted

    asyncio.run(run())


def test_an_action_that_fails_leaves_no_trace(dsn: str) -> None:
    """The audit is part of the transaction."""

    async def run() -> None:
        async with opened(dsn) as store:
            await with_gallery(store, persons=("anna",))
            with pytest.raises(psycopg.errors.NotNullViolation):
                await store.enrol(
                    [embedded(axis(0))],
                    "staff",
                    "anna",
                    [source("a")],
                    key=None,  # type: ignore[arg-type]
                )
            assert await store.list_faces("staff", "anna") == []
            actions = [entry.action for entry in (await store.audit(limit=9)).entries]
            assert actions == ["put_person", "put_gallery"]

    asyncio.run(run())


def test_200_searches_at_a_time_are_answered_while_persons_are_enrolled(dsn: str) -> None:
    async def run() -> None:
        async with opened(dsn) as store:
            await with_gallery(store)
            await enrol(store, "anna", axis(0))
            query = SearchQuery("staff", top_k=1)
            found, _ = await asyncio.gather(
                asyncio.gather(*(store.search([embedded(axis(0))], query) for _ in range(200))),
                asyncio.gather(*(enrol(store, f"p{n}", axis(n)) for n in range(1, 20))),
            )
            assert {one.faces[0].candidates[0].person for one in found} == {"anna"}
            assert (await store.get_gallery("staff")).faces == 20

    asyncio.run(run())


def test_a_gallery_is_deleted_while_its_persons_are_enrolled(dsn: str) -> None:
    async def run() -> None:
        async with opened(dsn) as one, opened(dsn) as other:
            await with_gallery(one, persons=("anna", "berta"))

            async def write(number: int) -> None:
                person = ("anna", "berta")[number % 2]
                photo, hashed = [embedded(axis(number))], [source(str(number))]
                await one.enrol(photo, "staff", person, hashed, key=KEY)

            *ended, deleted = await asyncio.gather(
                *(write(number) for number in range(20)),
                other.delete_gallery("staff", key=KEY),
                return_exceptions=True,
            )
            assert getattr(deleted, "deleted", deleted) is True
            failed = {type(one) for one in ended if one is not None}
            assert failed <= {UnknownGallery, UnknownPerson}
            with psycopg.connect(dsn) as connection:
                left = connection.execute("SELECT count(*) FROM facegraph.faces").fetchone()
            assert left == (0,)

    asyncio.run(run())
