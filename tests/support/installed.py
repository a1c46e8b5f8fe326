"""An installed FaceGraph, tried as its user would: python -m tests.support.installed VENV

Commands run in an empty folder with an empty home: nothing of a checkout can help them.
`make release-check` calls this for each environment that it makes.
"""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import SIGINT

import httpx
import yaml

from graph.cluster.preflight import free_port
from tests.support.system_calls import watched, watching
from tests.support.waiting import TIMEOUT_S, wait_until

IMPORTED = """
import configs, deployments, graph
from graph import FaceGraph
print(*{str(module.__path__[0]) for module in (configs, deployments, graph)}, sep="\\n")
"""
EMBEDDED = """
import pyarrow.parquet as pq
print(pq.read_table("faces.parquet").num_rows)
"""


@dataclass(frozen=True)
class Installed:
    """venv: an environment that has FaceGraph. folder: the home, and the working folder."""

    venv: Path
    folder: Path

    def run(self, *command: str, code: int = 0) -> str:
        """Run a program of the environment and return its stdout; check the exit code."""
        done = subprocess.run(
            self._command(*command),
            cwd=self.folder,
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    @contextmanager
    def served(self, trace: Path | None = None) -> Iterator[str]:
        """`facegraph serve`; yields the server's URL once it is ready, and sends Ctrl-C.

        trace: the file into which strace writes the system calls of the server's processes.
        """
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        log = self.folder / "serve.log"
        watch = watching(trace) if trace else []
        with log.open("w") as output:
            server = subprocess.Popen(
                [*watch, *self._command("facegraph", "serve", "--port", str(port))],
                cwd=self.folder,
                env=self._environment(),
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            try:
                wait_until(lambda: is_ready(url, server, log), message=log.read_text)
                yield url
            finally:
                os.kill(watched(server.pid) if trace else server.pid, SIGINT)
                server.wait(timeout=TIMEOUT_S)
        printed = log.read_text()
        assert server.returncode == 0, printed
        ready = rf"^Ready after [\d.]+ s: .* {url}/, .* {url}/docs; Ctrl-C stops the graph$"
        assert re.search(ready, printed, re.MULTILINE), printed
        assert printed.endswith("Stopping the graph\n"), printed

    def _command(self, program: str, *arguments: str) -> list[str]:
        return [str(self.venv / "bin" / program), *arguments]

    def _environment(self) -> dict[str, str]:
        return {"HOME": str(self.folder), "PATH": f"{self.venv}/bin:/usr/local/bin:/usr/bin:/bin"}


def is_ready(url: str, server: "subprocess.Popen[bytes]", log: Path) -> bool:
    """True if the server answers /readyz with 200. Raises AssertionError if it has ended."""
    assert server.poll() is None, f"the server ended: {log.read_text()}"
    try:
        return httpx.get(f"{url}/readyz").status_code == 200
    except httpx.TransportError:
        return False


def try_alone(installed: Installed) -> None:
    """The commands that need no server, and the files that the package ships."""
    places = installed.run("python", "-c", IMPORTED).splitlines()
    assert all(Path(place).is_relative_to(installed.venv) for place in places), places
    assert "compare" in installed.run("facegraph", "--help")
    assert installed.run("facegraph", "config", "check").strip().endswith("serve_config.yaml: ok")
    profile = installed.run("facegraph", "config", "show", "configs/profiles/gpu.yaml", "--source")
    assert yaml.safe_load(profile)["applications"][0]["name"] == "facegraph"
    assert "retinaface-mnet025" in installed.run("facegraph", "models", "list")
    own = installed.run("facegraph", "config", "show", "--source")
    (installed.folder / "own.yaml").write_text(own.replace("port: 8000", f"port: {free_port()}"))
    assert "fault" not in installed.run("facegraph", "doctor", "own.yaml")


def try_server(installed: Installed, trace: Path | None = None) -> None:
    """`facegraph serve`: the page, the API's description, and the commands that call a server.

    trace: as for `Installed.served`.
    """
    with installed.served(trace) as url:
        for path in ("/", "/docs", "/page/main.js", "/openapi.json"):
            httpx.get(url + path, timeout=TIMEOUT_S).raise_for_status()
        photos = installed.folder / "photos"
        photos.mkdir()
        for name in ("yaoming.jpg", "players.jpg"):
            photo = httpx.get(f"{url}/examples/{name}", timeout=TIMEOUT_S).raise_for_status()
            (photos / name).write_bytes(photo.content)
        pair = ("photos/yaoming.jpg", "photos/players.jpg")
        assert "0.63" in installed.run(
            "facegraph", "compare", *pair, "--faces", "all", "--url", url
        )
        installed.run("facegraph", "detect", pair[1], "--draw", "faces.png", "--url", url)
        assert (installed.folder / "faces.png").stat().st_size > 10_000
        installed.run("facegraph", "embed", "photos", "--out", "faces.parquet", "--url", url)
        assert int(installed.run("python", "-c", EMBEDDED)) >= 2


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        installed = Installed(Path(sys.argv[1]).resolve(), Path(folder))
        try_alone(installed)
        try_server(installed)
        installed.run("facegraph", "demo")
        assert (installed.folder / "demo.png").stat().st_size > 10_000
        assert "the right man" in installed.run("facegraph", "gallery", "demo")
        assert (installed.folder / "demo-gallery.png").stat().st_size > 10_000


if __name__ == "__main__":
    main()
