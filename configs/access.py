"""Access over HTTP: API keys, anonymous requests, rate limits and CORS."""

import re
from collections.abc import Mapping
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)

from configs.base import Config

# The names, in the log and the metrics, of clients without a key and with a wrong one.
ANONYMOUS, UNKNOWN = "anonymous", "unknown"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# A key's rights to galleries; admin includes the others.
KeyScope = Literal["verify", "search", "enrol", "admin"]


def require_key_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"expected letters, digits, . _ or -, at most 64, got {name!r}")
    if name in (ANONYMOUS, UNKNOWN):
        raise ValueError(f"{name!r} stands for clients without a key: choose another name")
    return name


def expiry_from(value: Any) -> datetime:
    """Return the UTC date-time of a date or date-time in ISO 8601, as text.

    A date is the start of that day; without an offset the time is UTC. Raises ValueError, also for
    the date objects that YAML makes of a date without quotes: `serve deploy` cannot send them.
    """
    if isinstance(value, date):
        raise ValueError(f'expected quotes in a Serve file: "{value.isoformat()}"')
    try:
        # Python 3.10 does not read Z.
        time = datetime.fromisoformat(value.replace("Z", "+00:00"))
        return time.astimezone(timezone.utc) if time.tzinfo else time.replace(tzinfo=timezone.utc)
    except (AttributeError, ValueError, OverflowError):
        raise ValueError(
            "expected a date or a date-time in UTC, such as 2027-01-31T12:00:00Z"
        ) from None


def utc_text(time: datetime) -> str:
    """Return a UTC date-time as ISO 8601 to the second, such as 2027-01-31T12:00:00Z."""
    return time.isoformat(timespec="seconds").replace("+00:00", "Z")


class ClientLimits(Config):
    """Limits of one client. Each ingress replica counts on its own."""

    requests_per_s: float | None = Field(
        default=None, gt=0, description="Mean requests a second; null sets no limit."
    )
    burst: int = Field(
        default=20,
        ge=1,
        description="Most requests at once after a pause; it needs requests_per_s.",
    )
    max_concurrent: int | None = Field(
        default=None, ge=1, description="Requests in progress at a time; null sets no limit."
    )


# Limits of anonymous requests on a host that is not a loopback address.
ANONYMOUS_DEFAULTS = ClientLimits(requests_per_s=10, burst=20, max_concurrent=4)


class ApiKey(Config):
    """The API key of one client. The file may give the SHA-256 alone, in place of this mapping."""

    sha256: SecretStr = Field(description="SHA-256 of the key, 64 hex digits.")
    expires: datetime | None = Field(
        default=None,
        description="Time from which the key is refused: a date-time in UTC, or a date for the"
        " start of that day. In quotes within a Serve file. null: never.",
    )
    limits: ClientLimits | None = Field(
        default=None, description="Limits of this key, in place of access.key_limits."
    )
    scopes: tuple[KeyScope, ...] = Field(
        default=(),
        description="The key's rights to galleries. verify: a photo against one person; search: a"
        " photo against all; enrol: persons and their faces, also to read and delete them; admin:"
        " all of that, galleries, export and import. Left out: none.",
    )
    galleries: tuple[str, ...] | None = Field(
        default=None, description="The galleries that the scopes hold for; null: all."
    )

    @model_validator(mode="before")
    @classmethod
    def _digest_alone(cls, given: Any) -> Any:
        return {"sha256": given} if isinstance(given, str) else given

    @field_validator("expires", mode="before")
    @classmethod
    def _in_utc(cls, expires: Any) -> datetime | None:
        return None if expires is None else expiry_from(expires)

    @field_validator("sha256")
    @classmethod
    def _is_digest(cls, digest: SecretStr) -> SecretStr:
        if not re.fullmatch(r"[0-9a-f]{64}", digest.get_secret_value()):
            raise ValueError("expected the key's SHA-256, 64 hex digits")
        return digest


KeysByName = Mapping[Annotated[str, AfterValidator(require_key_name)], ApiKey]


class AccessConfig(Config):
    keys: KeysByName = Field(
        default_factory=dict,
        description="Clients by name: each has the SHA-256 (hex) of its API key, or sha256 with"
        " expires or limits.",
    )
    keys_file: Path | None = Field(
        default=None,
        description="A YAML file of further keys, as `facegraph keys new` writes it, on every node"
        " that an ingress replica runs on; read again when it changes.",
    )
    keys_reload_s: float = Field(
        default=5.0, gt=0, description="Seconds between two checks of keys_file for changes."
    )
    anonymous: bool | None = Field(
        default=None,
        description="true answers requests without a key, false refuses them. Left out: true if no"
        " key is configured and the HTTP host is a loopback address, else false; without a key and"
        " on any other host the graph does not start.",
    )
    key_limits: ClientLimits = Field(
        default_factory=ClientLimits, description="Limits of each key without limits of its own."
    )
    anonymous_limits: ClientLimits | None = Field(
        default=None,
        description="Limits of all anonymous requests together. Left out: none on a loopback"
        f" address, else {ANONYMOUS_DEFAULTS.requests_per_s:g} requests a second and"
        f" {ANONYMOUS_DEFAULTS.max_concurrent} at a time.",
    )
    allowed_origins: tuple[str, ...] = Field(
        default=(),
        description="Web origins, such as https://app.example.org, whose pages may read answers"
        " (CORS); * allows every origin. Left out: only the graph's own pages may.",
    )
