"""The audit trail: who changed what. It has ids, and nothing else of a person."""

from collections.abc import Sequence

from deployments.gallery.contracts import AuditEntry, AuditPage
from deployments.gallery.database import Connection, plan_by_values

_MOST_IDS = 100


async def record(
    connection: Connection,
    key: str,
    action: str,
    gallery: str,
    persons: Sequence[str] = (),
    faces: Sequence[str] = (),
) -> None:
    """Record an action in the transaction of the action itself."""
    await connection.execute(
        "INSERT INTO audit (key, action, gallery, persons, faces) VALUES (%s, %s, %s, %s, %s)",
        (key, action, gallery, list(persons[:_MOST_IDS]), list(faces[:_MOST_IDS])),
    )


async def page(
    connection: Connection, gallery: str | None, *, limit: int, cursor: str | None
) -> AuditPage:
    """The newest entries first, of one gallery or of all."""
    await plan_by_values(connection)
    rows = await (
        await connection.execute(
            "SELECT no, at, key, action, gallery, persons, faces FROM audit"
            " WHERE (%(gallery)s::text IS NULL OR gallery = %(gallery)s)"
            " AND (%(before)s::bigint IS NULL OR no < %(before)s) ORDER BY no DESC LIMIT %(limit)s",
            {"gallery": gallery, "before": int(cursor) if cursor else None, "limit": limit + 1},
        )
    ).fetchall()
    entries = tuple(
        AuditEntry(no, at, key, action, of, tuple(persons), tuple(faces))
        for no, at, key, action, of, persons, faces in rows[:limit]
    )
    more = len(rows) > limit
    return AuditPage(entries, str(entries[-1].number) if more else None)
