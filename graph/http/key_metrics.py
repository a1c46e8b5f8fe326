"""Metrics of API keys: each key's requests, photos and end."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ray.serve import metrics

from configs.access import UNKNOWN
from graph.http.keys import Client
from graph.http.middleware import RequestRecord
from graph.pipeline.metrics import KEY_EXPIRY, KEY_PHOTOS, KEY_REQUESTS, counted


class KeyMetrics:
    """Metrics of one ingress replica's API keys."""

    def __init__(self) -> None:
        self._requests = KEY_REQUESTS.create(metrics)
        self._photos = KEY_PHOTOS.create(metrics)
        self._expiry = KEY_EXPIRY.create(metrics)
        self._expiring: frozenset[str] = frozenset()

    @contextmanager
    def request(self, record: RequestRecord) -> Iterator[None]:
        """Count the block as one request, by the client and the photos that it records."""

        def count(code: str) -> None:
            tags = {"key": record.client or UNKNOWN, "code": code}
            self._requests.inc(1, tags)
            if record.photos:
                self._photos.inc(record.photos, tags)

        with counted(count):
            yield

    def keys_read(self, clients: Sequence[Client]) -> None:
        """Export the end of each client's key."""
        ends = {one.name: one.expires.timestamp() for one in clients if one.expires}
        for name in self._expiring - ends.keys():
            # A replica cannot delete a series; Ray 2.60 exports none whose value is NaN.
            self._expiry.set(math.nan, {"key": name})
        for name, end in ends.items():
            self._expiry.set(end, {"key": name})
        self._expiring = frozenset(ends)
