"""Configuration of galleries: persons' faces, kept in PostgreSQL and searched."""

from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, Field, SecretStr

from configs.base import Config


class GalleryDefaults(Config):
    """Settings of a gallery that is made without them."""

    policy: Literal["off", "standard", "strict"] = Field(
        default="standard",
        description="Faces that are refused at enrolment. off: none; standard: those that harm"
        " recognition, or may be another person's; strict: also those that are turned.",
    )
    max_faces_per_person: int = Field(
        default=20, ge=1, le=1000, description="Most faces that a person can have."
    )
    min_margin: float = Field(
        default=0.03,
        ge=0,
        le=2,
        description="A match is uncertain if the second person's cosine is less than this below"
        " the first's.",
    )
    scoring: Literal["best", "centroid"] = Field(
        default="best",
        description="A person's similarity. best: that of the most similar face; centroid: that of"
        " the normalised mean of the person's faces.",
    )


class SearchConfig(Config):
    """The search in a gallery.

    A large gallery is searched in two steps: the signs of the embeddings' numbers, 512 bits a face,
    choose candidates, and the candidates' cosines are exact. One of embeddings of another length
    than 512 is searched by all cosines.
    """

    exact_up_to: int = Field(
        default=2000,
        ge=0,
        description="Most faces of a gallery whose cosines are all computed; a larger gallery is"
        " searched by candidates.",
    )
    candidates: int = Field(
        default=100,
        ge=10,
        description="Faces whose exact cosines are computed in a large gallery; at least 20 for"
        " each requested person.",
    )
    horizon: float = Field(
        default=0.15,
        ge=-1,
        lt=1,
        description="Lowest cosine, as estimated by the Hamming distance, of a candidate. If this"
        " leaves fewer persons than requested, the search is made without it. -1: no limit.",
    )
    memory_mb: int = Field(
        default=512,
        ge=0,
        description="Memory in MiB in which a replica keeps the codes of large galleries: 6,000"
        " faces a MiB. Without room for them, and with a filter, the database scans the gallery,"
        " which takes longer.",
    )


class EmbeddedServerConfig(Config):
    """The embedded PostgreSQL server."""

    shared_buffers_mb: int = Field(
        default=256, ge=16, description="Memory in MiB in which the server keeps its tables."
    )
    min_free_mb: int = Field(
        default=128,
        ge=0,
        description="Least free MiB on the disk of `data_dir`: with less, changes are refused, and"
        " with a quarter of it deletions too. Searches go on.",
    )
    start_timeout_s: float = Field(
        default=30.0, gt=0, description="Most seconds that a replica waits for the server to start."
    )


class GalleryConfig(Config):
    """The gallery stage and its database. Without `enabled` nothing is kept."""

    # The DSN has a password.
    model_config = ConfigDict(hide_input_in_errors=True)

    enabled: bool = Field(
        default=False, description="Keep galleries, and answer the routes about them."
    )
    dsn: SecretStr | None = Field(
        default=None,
        description="PostgreSQL's URL or keywords, with the extension pgvector available. Left out:"
        " the environment variable FACEGRAPH_GALLERY_DSN, or else an embedded server.",
    )
    data_dir: Path = Field(
        default=Path("~/.local/share/facegraph/galleries"),
        description="Folder of the embedded server's database. All replicas must run on its"
        " machine.",
    )
    embedded: EmbeddedServerConfig = Field(default_factory=EmbeddedServerConfig)
    min_connections: int = Field(
        default=1, ge=0, description="Connections that a replica keeps open."
    )
    max_connections: int = Field(
        default=8,
        ge=1,
        description="Most connections of a replica; further calls wait for one.",
    )
    connect_timeout_s: float = Field(
        default=5.0,
        gt=0,
        description="Most seconds that a call waits for a database that does not answer; then it is"
        " answered 503.",
    )
    statement_timeout_s: float = Field(
        default=20.0, gt=0, description="Most seconds of one statement, searches included."
    )
    retry_after_s: int = Field(
        default=2,
        ge=1,
        description="Seconds in the Retry-After header while the database does not answer.",
    )
    purge_timeout_s: float = Field(
        default=5.0,
        ge=0,
        description="Most seconds that a deletion waits for its bytes to be removed from the disk;"
        " then it is answered with purged: false, and the removal goes on.",
    )
    retention_interval_s: float = Field(
        default=60.0,
        gt=0,
        description="Seconds between two deletions of the persons whose `expires_at` has passed."
        " A search finds none of them meanwhile.",
    )
    max_persons: int | None = Field(
        default=None, ge=1, description="Most persons of one gallery; null sets no limit."
    )
    defaults: GalleryDefaults = Field(default_factory=GalleryDefaults)
    search: SearchConfig = Field(default_factory=SearchConfig)
