"""Galleries, persons, faces, the audit trail, and the deletions that are to be purged.

`faces` has 16 parts. A deletion rewrites the parts that the faces were in: PostgreSQL's VACUUM
leaves the bytes of a deleted row in its page, VACUUM FULL does not, but locks the part meanwhile.

`code` has the signs of the embedding's numbers. It is scanned, so it stands before all columns of
no fixed length, unpacked (plain); the embedding is kept apart from the row, uncompressed
(external). Neither has statistics, which would have copies of it.
"""

from alembic import op

revision = "0001"
down_revision = None

PARTS = 16

_TABLES = (
    """
    CREATE TABLE facegraph.galleries (
        no integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        id text COLLATE "C" NOT NULL UNIQUE,
        recognizer text NOT NULL,
        version text,
        threshold double precision NOT NULL,
        policy text NOT NULL,
        max_faces_per_person integer NOT NULL,
        min_margin double precision NOT NULL,
        max_uncertainty double precision,
        min_quality double precision,
        scoring text NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now()
    )
    """,
    """
    CREATE TABLE facegraph.persons (
        no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        gallery integer NOT NULL REFERENCES facegraph.galleries,
        id text COLLATE "C" NOT NULL,
        name text,
        metadata jsonb NOT NULL,
        expires_at timestamptz,
        created_at timestamptz NOT NULL DEFAULT now(),
        updated_at timestamptz NOT NULL DEFAULT now(),
        UNIQUE (gallery, id),
        UNIQUE (gallery, no)
    )
    """,
    "CREATE INDEX ON facegraph.persons USING gin (metadata jsonb_path_ops)",
    "CREATE INDEX ON facegraph.persons (expires_at) WHERE expires_at IS NOT NULL",
    """
    CREATE TABLE facegraph.faces (
        gallery integer NOT NULL,
        person bigint NOT NULL,
        code bit(512) NOT NULL,
        id text COLLATE "C" NOT NULL,
        embedding vector(512) NOT NULL,
        box real[],
        score real,
        quality real,
        source text,
        created_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (gallery, id),
        FOREIGN KEY (gallery, person) REFERENCES facegraph.persons (gallery, no)
            ON UPDATE CASCADE
    ) PARTITION BY HASH (id)
    """,
    "CREATE INDEX ON facegraph.faces (gallery, person)",
    """
    CREATE TABLE facegraph.audit (
        no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        at timestamptz NOT NULL DEFAULT now(),
        key text NOT NULL,
        action text NOT NULL,
        gallery text COLLATE "C" NOT NULL,
        persons text[] NOT NULL,
        faces text[] NOT NULL
    )
    """,
    "CREATE INDEX ON facegraph.audit (gallery, no)",
    # The parts of `faces` with deleted rows, and the transaction of the last deletion in each.
    "CREATE TABLE facegraph.unpurged (part text PRIMARY KEY, deleted_by xid8 NOT NULL)",
)


def upgrade() -> None:
    op.execute("CREATE EXTENSION IF NOT EXISTS vector SCHEMA public")
    for statement in _TABLES:
        op.execute(statement)
    for number in range(PARTS):
        op.execute(
            f"CREATE TABLE facegraph.faces_{number:02d} PARTITION OF facegraph.faces"
            f" FOR VALUES WITH (MODULUS {PARTS}, REMAINDER {number})"
        )
    op.execute(
        "ALTER TABLE facegraph.faces"
        " ALTER COLUMN code SET STORAGE PLAIN, ALTER COLUMN code SET STATISTICS 0,"
        " ALTER COLUMN embedding SET STORAGE EXTERNAL, ALTER COLUMN embedding SET STATISTICS 0"
    )


def downgrade() -> None:
    raise NotImplementedError("restore a backup of the earlier version")
