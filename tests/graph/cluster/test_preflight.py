"""Faults that are told before Ray starts."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from configs.detector import DetectorConfig
from configs.graph import GraphConfig
from configs.recognizer import RecognizerConfig
from deployments.errors import ModelUnavailable
from graph.cluster.preflight import (
    check_weights,
    licence_notes,
    path_fault,
    port_fault,
)
from graph.cluster.serve_file import graph_config, read_serve_file
from tests.support.profiles import ROOT

MISSING = RecognizerConfig(model="rts", precision="float32")


@pytest.fixture(autouse=True)
def _no_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEGRAPH_MODELS", str(tmp_path / "models"))


@pytest.mark.parametrize("command", [("serve",), ("demo",)])
def test_a_python_under_a_path_with_a_space_is_refused_by_its_path(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    folder = tmp_path / "my programs"
    folder.symlink_to(sys.prefix)
    python = folder / "bin" / Path(sys.executable).name
    done = subprocess.run(
        [python, "-m", "graph.commands.main", *command],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"{python}: Ray cannot start workers")


@pytest.mark.parametrize(
    ("folder", "fault"),
    [
        ("/tmp/19-characters-", None),
        ("/tmp/20--characters-", "1 bytes too long for the paths of HAProxy's sockets"),
        ("/tmp/my files", "HAProxy cannot use a path with a space"),
        (
            "/var/folders/zz/zyxvpxvq6csfxvn_n0000000000000/T",
            "bytes too long for the paths of Ray",
        ),
    ],
)
def test_a_temporary_folder_with_a_space_or_a_long_path_is_refused_too(
    folder: str, fault: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", folder)
    found = path_fault()
    assert found is None if fault is None else str(found).startswith(f"{folder}: ")
    assert fault is None or fault in str(found)


def test_a_home_folder_that_cannot_be_written_is_refused_if_ray_needs_a_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.touch()
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(file / "home"))
    assert str(path_fault()).startswith(f"{file}/home/.ray/auth_token: Ray cannot write")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert path_fault() is None
    monkeypatch.delenv("RAY_AUTH_MODE")
    monkeypatch.setenv("HOME", str(tmp_path / "new"))
    assert path_fault() is None


@pytest.mark.parametrize("port", [-1, 65536, 99999])
def test_a_number_that_is_no_port_is_refused(port: int) -> None:
    assert port_fault("127.0.0.1", port) == f"127.0.0.1:{port}: expected a number from 0 to 65535"


@pytest.mark.parametrize("shares", [0, 1])
def test_a_port_that_another_server_has_is_refused(shares: int) -> None:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shares)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert port_fault("127.0.0.1", port) == f"127.0.0.1:{port}: Address already in use"


def test_a_pool_without_weights_is_named_and_left_out() -> None:
    config = GraphConfig(recognizers={"arcface": RecognizerConfig(), "rts": MISSING})
    [sentence] = check_weights(config)
    assert sentence.startswith("The graph starts without rts: rts: no pytorch_model.pt; looked at")
    assert "facegraph models pull rts" in sentence


def test_weights_that_forbid_commercial_use_are_named_once() -> None:
    usual, same = (
        GraphConfig(),
        GraphConfig(recognizers={"a": RecognizerConfig(), "b": RecognizerConfig()}),
    )
    [sentence] = licence_notes([usual, same])
    assert sentence == "Not for commercial use, by the weights' licence: arcface-mbf"
    assert licence_notes([GraphConfig(recognizers={"rts": MISSING})]) == []


def test_all_weights_of_the_commercial_profile_may_be_used_commercially() -> None:
    config = graph_config(read_serve_file(ROOT / "configs/profiles/commercial.yaml"))
    stages = [config.detector, *config.recognizers.values(), *config.classifiers.values()]
    assert all(stage.entry.commercial_use for stage in stages)


@pytest.mark.parametrize(
    "config",
    [
        GraphConfig(detector=DetectorConfig(model="retinaface-r50")),
        GraphConfig(recognizers={"rts": MISSING}),
    ],
)
def test_a_graph_without_a_detector_or_any_recognizer_does_not_start(config: GraphConfig) -> None:
    with pytest.raises(ModelUnavailable, match="fetch it with: facegraph models pull"):
        check_weights(config)
