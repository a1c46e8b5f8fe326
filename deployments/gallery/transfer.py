"""Export and import of a gallery as NDJSON.

The first line is the gallery's: `{"gallery": ..., "recognizer": ..., "version": ..., ...}`. Each
other line is a person with all faces; a face's embedding is the base64 of its numbers, float32,
little-endian, so that it comes back with every bit.
"""

import binascii
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Annotated, Any

import numpy as np
import pybase64
from psycopg.types.json import Jsonb
from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
)

from deployments.contracts import FloatArray
from deployments.gallery import audit, galleries, persons
from deployments.gallery.contracts import ID, ExportPage, Imported, RefusedLine
from deployments.gallery.database import Connection, plan_by_values
from deployments.gallery.facts import Facts, Text
from deployments.gallery.galleries import StoredGallery
from deployments.gallery.vectors import code_of, loaded, stored

_LENGTH_TOLERANCE = 1e-3
_COLUMNS = "gallery, person, code, id, embedding, box, score, quality, source, created_at"
_TYPES = (
    "int4", "int8", "bit", "text", "vector", "float4[]", "float4", "float4", "text", "timestamptz",
)  # fmt: skip


def _embedding(text: Any, info: ValidationInfo) -> bytes:
    """The bytes of an embedding's base64: as many numbers as the context has it, of length 1."""
    size = int(info.context or 0)
    try:
        content = pybase64.b64decode(text, validate=True)
    except (binascii.Error, ValueError, TypeError):
        raise ValueError("expected base64") from None
    if len(content) != 4 * size:
        raise ValueError(f"expected {size} float32 numbers, got {len(content) / 4:g}")
    vector = np.frombuffer(content, "<f4")
    if not abs(float(np.linalg.norm(vector)) - 1) < _LENGTH_TOLERANCE:
        raise ValueError("expected a vector of length 1")
    return content


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class _Face(_Line):
    id: str = Field(pattern=ID)
    embedding: Annotated[bytes, BeforeValidator(_embedding)]
    box: tuple[float, float, float, float] | None = None
    score: float | None = None
    quality: float | None = None
    source: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    created_at: AwareDatetime | None = None

    @property
    def vector(self) -> FloatArray:
        return np.frombuffer(self.embedding, "<f4").astype(np.float32)


class _Person(_Line):
    person: str = Field(pattern=ID)
    name: Text | None = None
    metadata: Facts = Field(default_factory=dict)
    expires_at: AwareDatetime | None = None
    created_at: AwareDatetime | None = None
    faces: list[_Face] = Field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Numbered:
    number: int
    person: _Person


async def export_page(
    connection: Connection, gallery: StoredGallery, *, cursor: str | None, limit: int
) -> ExportPage:
    """The lines of up to `limit` persons, by id, from after the cursor; first, the gallery's."""
    await plan_by_values(connection)
    found = await (
        await connection.execute(
            "SELECT no, id, name, metadata, expires_at, created_at FROM persons WHERE gallery = %s"
            f" AND {persons.IS_VALID} AND (%s::text IS NULL OR id > %s) ORDER BY id LIMIT %s",
            (gallery.no, cursor, cursor, limit + 1),
        )
    ).fetchall()
    page = found[:limit]
    faces = await _faces_of(connection, gallery, [row[0] for row in page])
    lines = [] if cursor else [_header(gallery)]
    for number, id, name, metadata, expires_at, created_at in page:
        lines.append(
            {
                "person": id,
                "name": name,
                "metadata": metadata,
                "expires_at": _text(expires_at),
                "created_at": _text(created_at),
                "faces": faces.get(number, []),
            }
        )
    content = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    return ExportPage(content.encode(), page[-1][1] if len(found) > limit else None)


def _header(gallery: StoredGallery) -> dict[str, Any]:
    settings = asdict(gallery.settings)
    return {"gallery": settings.pop("id"), **settings}


async def _faces_of(
    connection: Connection, gallery: StoredGallery, numbers: Sequence[int]
) -> dict[int, list[dict[str, Any]]]:
    rows = await (
        await connection.execute(
            "SELECT person, id, embedding, box, score, quality, source, created_at FROM faces"
            " WHERE gallery = %s AND person = ANY(%s) ORDER BY created_at, id",
            (gallery.no, list(numbers)),
            binary=True,
        )
    ).fetchall()
    faces: dict[int, list[dict[str, Any]]] = {}
    for person, id, embedding, box, score, quality, source, created_at in rows:
        faces.setdefault(person, []).append(
            {
                "id": id,
                "embedding": _base64(loaded(embedding)),
                "box": box,
                "score": score,
                "quality": quality,
                "source": source,
                "created_at": _text(created_at),
            }
        )
    return faces


def _base64(vector: FloatArray) -> str:
    return pybase64.b64encode(vector.astype("<f4").tobytes()).decode()


def _text(time: datetime | None) -> str | None:
    return time.isoformat() if time else None


async def import_lines(
    connection: Connection, gallery: StoredGallery, lines: bytes, *, key: str
) -> Imported:
    """Store the persons and faces of whole lines, but for those that are there already.

    A line that cannot be read is refused alone. Raises WrongModel if the lines have the header of a
    gallery of another model.
    """
    refused: list[RefusedLine] = []
    read = list(_read(gallery, lines, refused))
    await persons.delete_expired(connection, gallery, [one.person.person for one in read])
    owners = await _owners(connection, gallery, read)
    wanted = _without_others_faces(read, owners, refused)
    for header in _headers(lines):
        await galleries.pin(connection, gallery, header)
    numbers, made = await _put_persons(connection, gallery, [one.person for one in wanted])
    if made < len(numbers):  # until now, another call may have stored faces of known persons
        owners = await _owners(connection, gallery, wanted)
    rows = _new_rows(gallery, wanted, numbers, set(owners))
    statement = f"COPY faces ({_COLUMNS}) FROM STDIN (FORMAT BINARY)"
    async with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.set_types(_TYPES)
        for row in rows:
            await copy.write_row(row)
    if made or rows:
        await audit.record(
            connection,
            key,
            "import",
            gallery.settings.id,
            [one.person.person for one in wanted],
            [row[3] for row in rows],
        )
    return Imported(made, len(rows), tuple(sorted(refused, key=lambda line: line.number)))


def _headers(lines: bytes) -> Iterator[str | None]:
    """The version in the lines' header, if they begin with one."""
    first = lines[: lines.find(b"\n") + 1] or lines
    try:
        content = json.loads(first)
    except ValueError:
        return
    if isinstance(content, dict) and "gallery" in content:
        yield content.get("version")


def _read(gallery: StoredGallery, lines: bytes, refused: list[RefusedLine]) -> Iterator[_Numbered]:
    settings = gallery.settings
    for number, line in enumerate(lines.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            content = json.loads(line)
            if isinstance(content, dict) and "gallery" in content:
                recognizer, version = content.get("recognizer"), content.get("version")
                if recognizer != settings.recognizer or (
                    version and settings.version and version != settings.version
                ):
                    raise galleries.wrong_model(settings, str(recognizer), version)
                continue
            person = _Person.model_validate(content, context=settings.embedding_size)
        except ValidationError as error:
            refused.append(RefusedLine(number, _fault(error)))
        except (ValueError, RecursionError):
            refused.append(RefusedLine(number, "not JSON"))
        else:
            yield _Numbered(number, person)


def _fault(error: ValidationError) -> str:
    """The first fault, without the value that has it."""
    fault = error.errors(include_url=False, include_input=False)[0]
    place, text = ".".join(map(str, fault["loc"])), fault["msg"].removeprefix("Value error, ")
    return f"{place}: {text}" if place else text


async def _put_persons(
    connection: Connection, gallery: StoredGallery, wanted: Sequence[_Person]
) -> tuple[dict[str, int], int]:
    """Make those persons that are not there; return all their numbers, and how many were made.

    All are locked in one order, so that two imports of the same persons wait for each other.
    """
    ordered = sorted(
        {person.person: person for person in wanted}.values(), key=lambda one: one.person
    )
    async with connection.cursor() as cursor:
        made = 0
        if ordered:
            await cursor.execute(
                "INSERT INTO persons (gallery, id, name, metadata, expires_at, created_at)"
                " SELECT %s, id, name, metadata, expires_at, coalesce(created_at, now())"
                " FROM unnest(%s::text[], %s::text[], %s::jsonb[], %s::timestamptz[],"
                " %s::timestamptz[]) AS given (id, name, metadata, expires_at, created_at)"
                " ON CONFLICT (gallery, id) DO NOTHING",
                (
                    gallery.no,
                    [person.person for person in ordered],
                    [person.name for person in ordered],
                    [Jsonb(person.metadata) for person in ordered],
                    [person.expires_at for person in ordered],
                    [person.created_at for person in ordered],
                ),
            )
            made = cursor.rowcount
        await cursor.execute(
            "SELECT id, no FROM persons WHERE gallery = %s AND id = ANY(%s) ORDER BY no FOR UPDATE",
            (gallery.no, [person.person for person in ordered]),
        )
        return {id: number for id, number in await cursor.fetchall()}, made


def _without_others_faces(
    read: Sequence[_Numbered], stored: Mapping[str, str], refused: list[RefusedLine]
) -> list[_Numbered]:
    """The lines without those that have a face of another person, stored or in an earlier line.

    stored: the persons' ids by the ids of stored faces.
    """
    owners, kept = dict(stored), []
    for one in read:
        person = one.person.person
        others = [face.id for face in one.person.faces if owners.get(face.id, person) != person]
        if others:
            refused.append(RefusedLine(one.number, f"face {others[0]} is another person's"))
            continue
        owners.update((face.id, person) for face in one.person.faces)
        kept.append(one)
    return kept


async def _owners(
    connection: Connection, gallery: StoredGallery, lines: Sequence[_Numbered]
) -> dict[str, str]:
    """The persons' ids by the ids of those of the lines' faces that are stored."""
    ids = [face.id for one in lines for face in one.person.faces]
    rows = await (
        await connection.execute(
            # Lateral, so that each face is looked up in the one part that it can be in.
            "SELECT face, persons.id FROM unnest(%s::text[]) AS given (face), LATERAL"
            " (SELECT person FROM faces WHERE gallery = %s AND id = face LIMIT 1) AS found"
            " JOIN persons ON no = person",
            (ids, gallery.no),
        )
    ).fetchall()
    return dict(rows)


def _new_rows(
    gallery: StoredGallery,
    wanted: Sequence[_Numbered],
    numbers: Mapping[str, int],
    known: set[str],
) -> list[tuple[Any, ...]]:
    """The rows of the faces but for the known ones. numbers: of the persons, by their ids."""
    now = datetime.now(timezone.utc)
    rows = []
    for one in wanted:
        for face in one.person.faces:
            if face.id not in known:
                known.add(face.id)
                rows.append(_row(gallery.no, numbers[one.person.person], face, now))
    return rows


def _row(gallery: int, person: int, face: _Face, now: datetime) -> tuple[Any, ...]:
    """The values of _COLUMNS."""
    vector = face.vector
    return (
        gallery,
        person,
        code_of(vector),
        face.id,
        stored(vector),
        list(face.box) if face.box else None,
        face.score,
        face.quality,
        face.source,
        face.created_at or now,
    )
