"""The transaction that stored each face in its gallery.

By it a replica that keeps a gallery's codes in memory finds the faces that came later. Faces of
before have 0: no replica's codes are older than this column.
"""

from alembic import op

revision = "0002"
down_revision = "0001"

_STATEMENTS = (
    "ALTER TABLE facegraph.faces ADD COLUMN stored_in xid8 NOT NULL DEFAULT '0'",
    "ALTER TABLE facegraph.faces ALTER COLUMN stored_in SET DEFAULT pg_current_xact_id()",
    "CREATE INDEX ON facegraph.faces (gallery, stored_in)",
)


def upgrade() -> None:
    for statement in _STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    raise NotImplementedError("restore a backup of the earlier version")
