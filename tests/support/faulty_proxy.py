"""A reverse proxy in front of a graph, which answers some requests itself, as a test plans."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import httpx

from tests.support.waiting import TIMEOUT_S


@dataclass
class Answer:
    """An answer of the proxy itself."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


DROPPED = Answer(0)  # the connection ends without an answer
FORWARDED = Answer(-1)  # the graph answers


@dataclass
class Front:
    """The running proxy.

    plan: the answers to the next requests; later requests go on to the graph. seen: the number of
    requests so far.
    """

    url: str
    plan: list[Answer]
    seen: int = 0


@contextmanager
def front_of(upstream: str, *plan: Answer) -> Iterator[Front]:
    front = Front("", list(plan))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            front.seen += 1
            answer = front.plan.pop(0) if front.plan else FORWARDED
            if answer is FORWARDED:
                answer = self._from_graph(body)
            self.close_connection = True
            if answer is not DROPPED:
                self._send(answer)

        do_GET = do_POST  # noqa: N815 - the library's spelling

        def _from_graph(self, body: bytes) -> Answer:
            url, kept = upstream + self.path, ("content-type", "authorization")
            headers = {name: self.headers[name] for name in kept if name in self.headers}
            answer = httpx.request(
                self.command, url, content=body, headers=headers, timeout=TIMEOUT_S
            )
            return Answer(answer.status_code, answer.content)

        def _send(self, answer: Answer) -> None:
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    front.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield front
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
