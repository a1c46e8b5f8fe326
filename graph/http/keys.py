"""API keys: stored as SHA-256 digests, compared in constant time, reloaded when their file changes.

A plain SHA-256 is enough because keys are not passwords: `new_key` draws 256 random bits.
"""

import hmac
import logging
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from hashlib import sha256
from pathlib import Path

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError

from configs.access import AccessConfig, ApiKey, ClientLimits, KeysByName, KeyScope
from configs.environment import api_keys
from deployments.errors import InvalidConfig

_KEYS = TypeAdapter(KeysByName, config=ConfigDict(hide_input_in_errors=True))
# Scanners for leaked secrets recognize keys by their prefix.
_PREFIX = "fg_"

logger = logging.getLogger("ray.serve")


class _Yaml(yaml.SafeLoader):
    """YAML whose dates stay text, so that they need no quotes."""


_Yaml.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def new_key() -> str:
    return _PREFIX + secrets.token_urlsafe(32)


def digest_of(key: bytes) -> str:
    return sha256(key).hexdigest()


def parse_keys(text: str, source: str) -> Mapping[str, ApiKey]:
    """Parse YAML of `name: SHA-256` (or `name: {sha256: ..., expires: ..., limits: ...}`).

    Raises InvalidConfig, which names each fault but never the value of a key.
    """
    try:
        given = yaml.load(text, _Yaml) or {}
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # `!!int x`, thousands of `[`
        mark = getattr(error, "problem_mark", None)
        raise InvalidConfig(
            f"{source}: not YAML{f', line {mark.line + 1}' if mark else ''}"
        ) from None
    try:
        return _KEYS.validate_python(given)
    except ValidationError as error:
        faults = [
            f"{source}: {'.'.join(map(str, item['loc'])) or 'keys'}: {item['msg']}"
            for item in error.errors(include_url=False, include_input=False, include_context=False)
        ]
        raise InvalidConfig("\n".join(faults)) from None


def read_keys(file: Path) -> Mapping[str, ApiKey]:
    """Read a keys file; raises InvalidConfig if it cannot be read or is not a keys file."""
    try:
        text = file.read_text()
    except OSError as error:
        raise InvalidConfig(f"access.keys_file: {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidConfig(f"access.keys_file: {file}: not UTF-8 text") from None
    return parse_keys(text, str(file))


@dataclass(frozen=True, slots=True)
class Client:
    """A client: the name of its key, or `anonymous`; its limits; its key's end in UTC, if any; its
    rights to galleries, and the galleries that they hold for, None for all."""

    name: str
    limits: ClientLimits
    expires: datetime | None = None
    scopes: frozenset[KeyScope] = frozenset()
    galleries: frozenset[str] | None = None

    @property
    def has_expired(self) -> bool:
        return self.expires is not None and self.expires <= datetime.now(timezone.utc)

    def may(self, scope: KeyScope) -> bool:
        return scope in self.scopes or "admin" in self.scopes

    def reaches(self, gallery: str) -> bool:
        return self.galleries is None or gallery in self.galleries


OnKeysRead = Callable[[Sequence[Client]], None]


class KeyRing:
    """All known keys: those of the configuration, of FACEGRAPH_API_KEYS and of the keys file.

    A thread reloads the file when it changes.
    """

    def __init__(self, config: AccessConfig, on_read: OnKeysRead | None = None) -> None:
        """Raise InvalidConfig for a source that cannot be read, or a name in two of them.

        on_read: called with all clients that have a key, now and after each reload.
        """
        self._config = config
        self._on_read = on_read
        self._file = config.keys_file.expanduser() if config.keys_file else None
        self._file_state = self._stat_file()
        self._clients = self._read()
        if self._file:
            threading.Thread(target=self._watch, name="keys", daemon=True).start()

    def __len__(self) -> int:
        return len(self._clients)

    def find(self, key: bytes) -> Client | None:
        """Return the client of a key, or None. Every known key is compared, so that the time taken
        reveals nothing about them."""
        presented = digest_of(key)
        found = None
        for digest, client in self._clients:
            if hmac.compare_digest(presented, digest):
                found = client
        return found

    def reload(self) -> None:
        """Read the file again if it has changed; keep the known keys if it cannot be read."""
        state = self._stat_file()
        if state == self._file_state:
            return
        try:
            self._clients = self._read()
            logger.info("%s: read again, %d keys are known", self._file, len(self))
        except InvalidConfig as error:
            logger.error("%s; the keys known before stay", error.message)
        self._file_state = state

    def _watch(self) -> None:
        pause = threading.Event()
        while not pause.wait(self._config.keys_reload_s):
            self.reload()

    def _stat_file(self) -> tuple[int, int, int] | None:
        """Return modification time, size and inode, one of which changes with the file, or None."""
        try:
            state = self._file.stat() if self._file else None
        except OSError:
            return None
        return (state.st_mtime_ns, state.st_size, state.st_ino) if state else None

    def _read(self) -> tuple[tuple[str, Client], ...]:
        sources = [self._config.keys, parse_keys(api_keys() or "", "FACEGRAPH_API_KEYS")]
        if self._file:
            sources.append(read_keys(self._file))
        known: dict[str, ApiKey] = {}
        for keys in sources:
            for name in known.keys() & keys.keys():
                raise InvalidConfig(f"access: two keys are called {name!r}")
            known |= keys
        clients = tuple(
            (key.sha256.get_secret_value(), self._client(name, key)) for name, key in known.items()
        )
        if self._on_read:
            self._on_read([client for _, client in clients])
        return clients

    def _client(self, name: str, key: ApiKey) -> Client:
        limits = key.limits or self._config.key_limits
        galleries = None if key.galleries is None else frozenset(key.galleries)
        return Client(name, limits, key.expires, frozenset(key.scopes), galleries)
