"""Access control: authenticates clients by API key, and limits the requests of each."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import ip_address

from starlette.requests import Request

from configs.access import (
    ANONYMOUS,
    ANONYMOUS_DEFAULTS,
    AccessConfig,
    ClientLimits,
    KeyScope,
    utc_text,
)
from deployments.errors import Forbidden, InvalidConfig, Overloaded, Unauthorized
from graph.http.keys import Client, KeyRing, OnKeysRead
from graph.http.middleware import RequestRecord

KEY_REQUIRED = "an API key is required: Authorization: Bearer KEY, or X-API-Key: KEY"
_ALL: frozenset[KeyScope] = frozenset({"admin"})
KEY_UNKNOWN = "the API key is not known here: check that it was copied whole"


def require_decision(config: AccessConfig, host: str | None, *, has_keys: bool) -> None:
    """Raise InvalidConfig if no client could call, or if other machines reach `host` and the
    configuration has neither keys nor `access.anonymous`."""
    if has_keys or config.anonymous:
        return
    if config.anonymous is None and is_loopback(host):
        return
    raise InvalidConfig(
        f"access: HTTP is served at {host} and there is no API key; make one (`facegraph keys new"
        " NAME --file keys.yaml`) and name the file in access.keys_file, or set access.anonymous"
        " to true to admit clients without a key"
    )


def is_loopback(host: str | None) -> bool:
    """Return True if only this machine reaches the host; None stands for a graph without HTTP."""
    if host is None or host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


class Access:
    """Access control of one ingress replica: who may call, and each client's limits."""

    def __init__(
        self, config: AccessConfig, host: str | None, on_keys_read: OnKeysRead | None = None
    ) -> None:
        """Raise InvalidConfig as `require_decision` does, or for keys that cannot be read.

        on_keys_read: KeyRing's `on_read`.
        """
        self._keys = KeyRing(config, on_keys_read)
        require_decision(config, host, has_keys=len(self._keys) > 0)
        # Decided at the start: anonymous clients stay refused even if all keys are removed later.
        self._admits_anonymous = (
            len(self._keys) == 0 if config.anonymous is None else config.anonymous
        )
        default = ClientLimits() if is_loopback(host) else ANONYMOUS_DEFAULTS
        self._anonymous = Client(ANONYMOUS, config.anonymous_limits or default)
        # Without keys, whoever works on this machine may do everything to the galleries.
        self._is_open = len(self._keys) == 0 and is_loopback(host)
        self._usage: dict[str, Usage] = {}

    @contextmanager
    def admitted(self, request: Request) -> Iterator[Client]:
        """Authenticate a request and count it as in flight for the block, which gets its client.

        Raises Unauthorized, or Overloaded if its client is over a limit.
        """
        client = self._client(request)
        RequestRecord.of(request.scope).client = client.name
        _require_valid(client)
        usage = self._usage_of(client)
        if usage.is_full():
            most = client.limits.max_concurrent
            raise _over_limit(client, f"{most} requests at a time", "max_concurrent")
        wait_s = usage.wait_s()
        if wait_s:
            rate = client.limits.requests_per_s
            raise _over_limit(client, f"{rate:g} requests a second", "requests_per_s", wait_s)
        with usage.in_flight():
            yield client

    def _client(self, request: Request) -> Client:
        key = _presented_key(request)
        if key is None and self._admits_anonymous:
            is_trusted = self._is_open and _is_of_this_machine(request)
            return replace(self._anonymous, scopes=_ALL) if is_trusted else self._anonymous
        if not key:
            raise Unauthorized(KEY_REQUIRED)
        client = self._keys.find(key)
        if client is None:
            raise Unauthorized(KEY_UNKNOWN)
        return client

    def _usage_of(self, client: Client) -> "Usage":
        usage = self._usage.get(client.name)
        if usage is None:
            usage = self._usage[client.name] = Usage(client.limits)
        usage.set_limits(client.limits)
        return usage


def _is_of_this_machine(request: Request) -> bool:
    """True if the request names this machine, and no page of another site sent it.

    A browser sends another site's form, too, and a name of that site may lead to this machine; a
    proxy on this machine passes on what others sent, with the name that they know.
    """
    is_own_page = request.headers.get("sec-fetch-site") in (None, "same-origin", "none")
    return is_own_page and is_loopback(request.url.hostname or "")


def require_scope(client: Client, scopes: Sequence[KeyScope], gallery: str | None) -> None:
    """Raise Forbidden unless the client has one of the scopes, in this gallery; None: in any."""
    if not any(client.may(scope) for scope in scopes):
        hint = (
            "galleries need an API key with scopes"
            if client.name == ANONYMOUS
            else f"the API key {client.name!r} has {', '.join(sorted(client.scopes)) or 'none'}"
        )
        needed = " or ".join(scopes)
        raise Forbidden(f"this route needs the scope {needed}; {hint}", scopes=list(scopes))
    if gallery is not None:
        require_gallery(client, gallery)


def require_gallery(client: Client, gallery: str) -> None:
    """Raise Forbidden for a key that is bound to other galleries."""
    if not client.reaches(gallery):
        raise Forbidden(
            f"the API key {client.name!r} is not for the gallery {gallery!r}", gallery=gallery
        )


def _require_valid(client: Client) -> None:
    """Raise Unauthorized for an expired key. Only its holder can learn of it."""
    if client.expires and client.has_expired:
        when = utc_text(client.expires)
        raise Unauthorized(
            f"the API key {client.name!r} expired on {when}; the operator of this service gives out"
            " a new one",
            key=client.name,
            expired=when,
        )


def _presented_key(request: Request) -> bytes | None:
    """Return KEY of `Authorization: Bearer KEY` or `X-API-Key: KEY`, in the client's encoding."""
    headers = request.headers
    # Starlette decodes headers as Latin-1; encoding them again gives the bytes that were sent.
    scheme, _, token = headers.get("authorization", "").encode("latin-1").partition(b" ")
    if scheme.lower() == b"bearer":
        return token.strip()
    key = headers.get("x-api-key")
    return None if key is None else key.encode("latin-1").strip()


def _over_limit(
    client: Client, allowed: str, limit: str, wait_s: float | None = None
) -> Overloaded:
    """The error for a client over its limit. allowed: in words; limit: its configuration field."""
    retry = {} if wait_s is None else {"retry_after_s": math.ceil(wait_s)}
    return Overloaded(
        f"{client.name}: {allowed} are taken here; try again later",
        client=client.name,
        limit=limit,
        **client.limits.model_dump(include={limit}),
        **retry,
    )


class Usage:
    """Counts of one client's requests against its limits. For one event loop."""

    def __init__(self, limits: ClientLimits) -> None:
        self._limits = limits
        self._in_flight = 0
        self._bucket = _bucket(limits)

    def set_limits(self, limits: ClientLimits) -> None:
        """Take these limits from now on; requests in flight, and tokens already taken, count on."""
        if limits == self._limits:
            return
        self._limits = limits
        if self._bucket and limits.requests_per_s:
            self._bucket.change(limits.requests_per_s, limits.burst)
        else:
            self._bucket = _bucket(limits)

    def wait_s(self) -> float:
        """Count a request and return 0; if it is over the rate, return the seconds to wait."""
        return self._bucket.take() if self._bucket else 0.0

    def is_full(self) -> bool:
        most = self._limits.max_concurrent
        return most is not None and self._in_flight >= most

    @contextmanager
    def in_flight(self) -> Iterator[None]:
        self._in_flight += 1
        try:
            yield
        finally:
            self._in_flight -= 1


def _bucket(limits: ClientLimits) -> "TokenBucket | None":
    return TokenBucket(limits.requests_per_s, limits.burst) if limits.requests_per_s else None


class TokenBucket:
    """Rate limit: `per_s` tokens a second come in, up to `size`; a request takes one."""

    def __init__(
        self, per_s: float, size: int, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_s, self._size, self._clock = per_s, size, clock
        self._tokens, self._filled_at = float(size), clock()

    def take(self) -> float:
        """Take a token and return 0; without one, return the seconds until the next."""
        self._fill()
        if self._tokens < 1:
            return (1 - self._tokens) / self._per_s
        self._tokens -= 1
        return 0.0

    def change(self, per_s: float, size: int) -> None:
        """Take another rate and size; the tokens that are there stay, up to the new size."""
        self._fill()
        self._per_s, self._size = per_s, size
        self._tokens = min(size, self._tokens)

    def _fill(self) -> None:
        now = self._clock()
        self._tokens = min(self._size, self._tokens + (now - self._filled_at) * self._per_s)
        self._filled_at = now
