"""A server that answers as CompreFace's REST API is documented, for one face collection."""

import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

KEY = "00000000-0000-0000-0000-000000000002"
_PAGE_SIZE = 2  # the most that this server gives


@contextmanager
def compreface(images: Mapping[str, tuple[str, bytes]]) -> Iterator[str]:
    """The URL of a server with these images, by id: the subject and the file."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            split = urlsplit(self.path)
            file = re.fullmatch("/api/v1/recognition/faces/([^/]+)/img", split.path)
            if self.headers.get("x-api-key") != KEY:
                self._answer(401, b'{"message": "no key", "code": 19}')
            elif split.path == "/api/v1/recognition/faces":
                self._answer(200, json.dumps(page(parse_qs(split.query))).encode())
            elif file:  # empty bytes if there is no such image
                self._answer(200, images.get(file[1], ("", b""))[1])
            else:
                self._answer(404, b"")

        def _answer(self, status: int, content: bytes) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None: ...

    def page(query: Mapping[str, list[str]]) -> dict[str, object]:
        number, size = int(query["page"][0]), min(int(query["size"][0]), _PAGE_SIZE)
        faces = [{"image_id": image, "subject": of} for image, (of, _) in images.items()]
        return {
            "faces": faces[number * size : (number + 1) * size],
            "page_number": number,
            "page_size": size,
            "total_pages": -(-len(faces) // size),
            "total_elements": len(faces),
        }

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
