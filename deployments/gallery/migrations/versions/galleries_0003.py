"""Embeddings of any length: each gallery has one, and the column none."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.execute(
        "ALTER TABLE facegraph.galleries ADD COLUMN embedding_size integer NOT NULL DEFAULT 512"
    )
    # No row is written anew: vector(512) is stored as vector is.
    op.execute(
        "ALTER TABLE facegraph.faces ALTER COLUMN embedding TYPE public.vector,"
        " ALTER COLUMN embedding SET STORAGE EXTERNAL, ALTER COLUMN embedding SET STATISTICS 0"
    )


def downgrade() -> None:
    raise NotImplementedError("restore a backup of the earlier version")
