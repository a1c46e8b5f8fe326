"""Runs blocks of a page: shell blocks in bash, Python blocks in this process."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from socketserver import StreamRequestHandler, UnixStreamServer
from typing import Any

from tests.docs.pages import Block
from tests.support.terminal import facegraph

# Starting Python and importing the commands takes over a second for each call. This client of
# `facegraph_command` takes 30 ms.
_CLIENT = """#!{python} -IS
import json, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    server.sendall(json.dumps(sys.argv[1:]).encode() + b"\\n")
    done = json.loads(server.makefile().read())
sys.stdout.write(done["out"])
sys.stderr.write(done["err"])
sys.exit(done["code"])
"""


class _Handler(StreamRequestHandler):
    def handle(self) -> None:
        done = facegraph(*json.loads(self.rfile.readline()))
        answer = {"out": done.out, "err": done.err, "code": done.code}
        self.wfile.write(json.dumps(answer).encode())


@contextmanager
def facegraph_command(folder: Path) -> Iterator[Path]:
    """A folder for PATH whose `facegraph` runs in this process, in its working folder."""
    address = str(folder / "facegraph.socket")
    file = folder / "facegraph"
    file.write_text(_CLIENT.format(python=sys.executable, address=address))
    file.chmod(0o755)
    with UnixStreamServer(address, _Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield folder
        finally:
            server.shutdown()
            thread.join()


def run_shell(block: Block, text: str, commands: Path) -> str:
    """Runs the text with `bash -e` and returns stdout; `commands` is the first folder of PATH."""
    done = subprocess.run(
        ["bash", "-euxo", "pipefail", "-c", text],
        env={"PATH": f"{commands}:/usr/local/bin:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{block}\n{done.stderr}"
    return done.stdout


def run_python(block: Block, text: str, names: dict[str, Any]) -> str:
    """Runs the text with the names that earlier blocks of the page defined; returns stdout."""
    printed = StringIO()
    with redirect_stdout(printed):
        exec(compile("\n" * (block.line - 1) + text, str(block.page), "exec"), names)
    return printed.getvalue()
