"""Malformed and hostile requests, each reproducible from its seed."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

import httpx

from graph.http.forms import IMAGE_TYPES
from tests.support.fuzzing.images import IMAGES, sound

JSON = {"content-type": "application/json"}
ROUTES = ("/v1/detect", "/v1/embed", "/v1/compare")


@dataclass(frozen=True)
class Case:
    """A request. slow: its body stops halfway, for longer than a body timeout of two seconds."""

    kind: str
    seed: int
    path: str
    content: bytes
    headers: dict[str, str] = field(default_factory=dict)
    slow: bool = False

    async def send(self, client: httpx.AsyncClient) -> httpx.Response:
        content = self._trickle() if self.slow else self.content
        return await client.post(self.path, content=content, headers=self.headers)

    async def _trickle(self) -> AsyncIterator[bytes]:
        middle = len(self.content) // 2
        yield self.content[:middle]
        await asyncio.sleep(4)
        yield self.content[middle:]


def case(seed: int) -> Case:
    """A damaged image or a damaged body, each in half of the cases."""
    random = Random(seed)
    if random.random() < 0.5:
        kind = random.choice(list(IMAGES))
        path, content, headers = _as_request(random, IMAGES[kind](random))
        return Case(f"image: {kind}", seed, path, content, headers)
    kind = random.choice(list(BODIES))
    path, content, headers = BODIES[kind](random)
    return Case(f"body: {kind}", seed, path, content, headers)


def slow_case(seed: int) -> Case:
    path, content, headers = _as_request(Random(seed), sound(Random(seed)))
    return Case("body: slow", seed, path, content, headers, slow=True)


Made = tuple[str, bytes, dict[str, str]]


def _as_request(random: Random, image: bytes) -> Made:
    """The image as a raw body, in a form or in JSON; the target of a comparison is intact."""
    path = random.choice(ROUTES)
    names = ["source", "target"] if path.endswith("compare") else ["image"]
    images = {name: image if name != "target" else sound(random) for name in names}
    how = random.choice(["raw", "form", "json"])
    if how == "raw" and names == ["image"]:
        return path, image, {"content-type": random.choice(IMAGE_TYPES)}
    if how == "json":
        texts = {name: base64.b64encode(content).decode() for name, content in images.items()}
        return path, json.dumps(texts).encode(), JSON
    return path, *_form({name: (name, content) for name, content in images.items()})


def _form(files: Any, data: Any = None) -> tuple[bytes, dict[str, str]]:
    request = httpx.Request("POST", "http://server/", files=files, data=data)
    return request.read(), {"content-type": request.headers["content-type"]}


def _deep(random: Random) -> Made:
    depth = random.choice([50, 900, 1100, 100_000])
    opening, closing = random.choice([("[", "]"), ('{"a":', "}")])
    nested = opening * depth + "1" + closing * depth * random.randint(0, 1)
    name = random.choice(["image", "source", "recognizers", "threshold", "x"])
    return random.choice(ROUTES), f'{{"{name}":{nested}}}'.encode(), JSON


def _wrong_values(random: Random) -> Made:
    values: list[Any] = [None, True, -1, 10**400, 1e308, "", "a" * 9000, [], [[]], {}, {"a": 1}]
    values += ["http://127.0.0.1/a.jpg", "file:///etc/passwd", "data:image/png;base64,", "\ud800"]
    values += ["data:,", "é", " ", "aGVsbG8", "aGVs bG8=", ["arcface"] * 65, ["a,b", "\x00"]]
    names = ["image", "source", "target", "recognizers", "faces", "threshold", "\ud800", "x" * 300]
    fields = {name: random.choice(values) for name in random.sample(names, random.randint(0, 6))}
    if random.random() < 0.5:
        fields |= {name: base64.b64encode(sound(random)).decode() for name in names[:3]}
    return random.choice(ROUTES), json.dumps(fields).encode(), JSON


def _broken_json(random: Random) -> Made:
    text = json.dumps({"image": base64.b64encode(sound(random)).decode(), "threshold": 0.1})
    content = random.choice(
        [
            text[: random.randrange(len(text))].encode(),
            text.encode("utf-16"),
            b"\xef\xbb\xbf" + text.encode(),
            text.encode() * 2,
            b'{"threshold": NaN}',
            b'{"threshold": 1' + b"0" * 5000 + b"}",
            b'{"image": "\xff\xfe"}',
            b'{"image": 1, "image": 2}',
            b"",
            b"null",
            random.randbytes(300),
        ]
    )
    return random.choice(ROUTES), content, JSON


def _many_fields(random: Random) -> Made:
    count = random.choice([65, 2000, 20_000])
    fields = ",".join(f'"{random.choice("ab")}{index}":1' for index in range(count))
    items = ",".join(['"a"'] * count)
    text = random.choice([f"{{{fields}}}", f'{{"recognizers":[{items}]}}', f"[{items}]"])
    return random.choice(ROUTES), text.encode(), JSON


def _many_parts(random: Random) -> Made:
    count = random.choice([65, 500, 3000])
    part = b'--x\r\nContent-Disposition: form-data; name="image"%s\r\n\r\na\r\n'
    parts = (part % random.choice([b"", b'; filename="a"'])) * count
    return random.choice(ROUTES), parts + b"--x--\r\n", _boundary(b"x")


def _broken_form(random: Random) -> Made:
    content, headers = _form({"image": ("a.jpg", sound(random))}, {"faces": "all"})
    head = b'--x\r\nContent-Disposition: form-data; name="image"'
    broken: list[tuple[bytes, dict[str, str]]] = [
        (content[: random.randrange(len(content))], headers),
        (content.replace(b"form-data", b"", 1), headers),
        (content.replace(b'name="image"', b"", 1), headers),
        (content.replace(b"\r\n", b"\n"), headers),
        (content, {"content-type": "multipart/form-data"}),
        (content, _boundary(b"another")),
        (content, _boundary(b"x" * 3000)),
        (content, {"content-type": headers["content-type"] + "; charset=rot13"}),
        (head + b"; filename*=utf-8''%ff\"\r\n\r\na\r\n--x--", _boundary(b"x")),
        (head + b"; a=b" * 4000 + b"\r\n\r\na\r\n--x--", _boundary(b"x")),
        ((head + b"\r\n") * 3000 + b"\r\na\r\n--x--", _boundary(b"x")),
        (random.randbytes(2000), _boundary(b"x")),
        (b"--x--", _boundary(b"x")),
        (b"", _boundary(b"x")),
    ]
    return random.choice(ROUTES), *random.choice(broken)


def _boundary(text: bytes) -> dict[str, str]:
    return {"content-type": f"multipart/form-data; boundary={text.decode()}"}


def _odd_fields(random: Random) -> Made:
    data = {
        "recognizers": random.choice(["", ",", "nobody", "a" * 5000, "arcface,second", "\x00é"]),
        "faces": random.choice(["all", "largest", "ALL", "é", ""]),
        "threshold": random.choice(["0.1", "nan", "inf", "1e400", "٣", "0x1", " 0.2 ", ""]),
        "extra": "1",
    }
    kept = {name: data[name] for name in random.sample(list(data), random.randint(1, 4))}
    path = random.choice(ROUTES)
    names = ["source", "target"] if path.endswith("compare") else ["image"]
    files = {name: (random.choice(["a.jpg", "../../a", "é\x00"]), sound(random)) for name in names}
    return path, *_form(files, kept)


def _wrong_type(random: Random) -> Made:
    types = ["", "text/plain", "image/gif", "image/svg+xml", "application/x-www-form-urlencoded"]
    types += ["application/json; charset=utf-7", "image/jpeg; a=b", "IMAGE/JPEG", ";", "é/é"]
    headers = {"content-type": random.choice(types)}
    return random.choice(ROUTES), sound(random), _latin(headers)


def _latin(headers: dict[str, str]) -> dict[str, str]:
    """The headers in ASCII, which httpx can send."""
    return {name: value.encode("ascii", "replace").decode() for name, value in headers.items()}


def _odd_headers(random: Random) -> Made:
    path, content, headers = _as_request(random, sound(random))
    odd = {
        "x-request-id": random.choice(["a" * 4000, "{}", "a b", "-", "'\"<script>"]),
        "x-request-timeout-seconds": random.choice(["0", "-1", "1e9", "nan", "0.0001", "x"]),
        "x-request-disconnect-disabled": "?1",
        "serve_multiplexed_model_id": "x",
        "x-session-id": "x",
        "traceparent": "00-zz",
        "accept-encoding": "br;q=1, gzip;q=-1",
        "expect": "100-continue",
        "range": "bytes=0-1",
        "authorization": random.choice(["Bearer", "Basic YTpi"]),
    }
    taken = random.sample(list(odd), random.randint(1, 5))
    query = random.choice(
        ["", "?faces=all", "?recognizers=%ff", "?image=a&image=b", "?" + "a" * 4000]
    )
    return path + query, content, headers | {name: odd[name] for name in taken}


BODIES: dict[str, Callable[[Random], Made]] = {
    "deep JSON": _deep,
    "wrong values": _wrong_values,
    "broken JSON": _broken_json,
    "many fields": _many_fields,
    "many parts": _many_parts,
    "broken form": _broken_form,
    "odd fields": _odd_fields,
    "wrong type": _wrong_type,
    "odd headers": _odd_headers,
}
