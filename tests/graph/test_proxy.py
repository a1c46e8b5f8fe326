"""The header filter removes the headers that must not reach Serve, and no others."""

import asyncio
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from graph import edge, proxy


def passed(*headers: tuple[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["headers"])

    async def nothing(*_: Any) -> Any:
        return None

    (header_filter,) = proxy.middlewares()
    wrapped: Any = header_filter.cls(app, *header_filter.args, **header_filter.kwargs)
    asyncio.run(wrapped({"type": "http", "headers": list(headers)}, nothing, nothing))
    (result,) = seen
    return list(result)


@pytest.mark.parametrize(
    "header",
    [
        (b"x-request-timeout-seconds", b"9999"),
        (b"x-request-disconnect-disabled", b"?1"),
        (b"x-session-id", b"a"),
        (b"serve_multiplexed_model_id", b"a"),
        (b"serve-multiplexed-model-id", b"a"),
        (b"x-request-id", b"two words"),
        (b"x-request-id", b""),
        (b"traceparent", b"\xff"),
        (b"x-\xff", b"a"),
    ],
)
def test_a_header_that_overrules_or_breaks_serve_is_removed(
    header: tuple[bytes, bytes],
) -> None:
    assert passed((b"host", b"a"), header, (b"accept", b"*/*")) == passed(
        (b"host", b"a"), (b"accept", b"*/*")
    )


@pytest.mark.parametrize(
    "header",
    [
        (b"x-request-id", b"0b7a-4.5:x"),
        (b"traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        (b"authorization", b"Bearer cl\xc3\xa9"),
        (b"x-api-key", b"\xff\xfe"),
    ],
)
def test_other_headers_pass_unchanged(header: tuple[bytes, bytes]) -> None:
    assert passed(header) == [header]


def test_the_former_name_in_deployed_serve_files_still_works() -> None:
    assert edge.middlewares is proxy.middlewares
