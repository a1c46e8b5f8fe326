"""`facegraph doctor` on this machine, with valid profiles and with faulty ones."""

import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from graph.cluster.preflight import free_port
from tests.support.profiles import ROOT
from tests.support.terminal import Done, facegraph


@pytest.fixture
def content() -> dict[str, Any]:
    loaded = yaml.safe_load((ROOT / "serve_config.yaml").read_text())
    assert isinstance(loaded, dict)
    loaded["http_options"]["port"] = free_port()
    return loaded


def examined(content: dict[str, Any], tmp_path: Path, *options: str, **environment: str) -> Done:
    file = tmp_path / "profile.yaml"
    file.write_text(yaml.safe_dump(content))
    return facegraph("doctor", file, "--json", *options, **environment)


def finding(done: Done, subject: str) -> dict[str, str]:
    found: list[dict[str, str]] = [item for item in done.json if item["subject"] == subject]
    return found[0]


def test_the_shipped_profile_can_start_and_each_model_shows_how_it_would_run(
    content: dict[str, Any], tmp_path: Path
) -> None:
    done = examined(content, tmp_path)
    assert done.code == 0
    assert {entry["state"] for entry in done.json} == {"ok"}
    detector, recognizer = finding(done, "detector"), finding(done, "recognizer arcface")
    assert "in onnxruntime on cpu, float32 (auto: photos of many sizes" in detector["found"]
    assert "in openvino on cpu" in recognizer["found"]
    assert "(auto: the quickest for recognizers on a CPU; precision auto" in recognizer["found"]
    assert recognizer["found"].startswith("arcface-mbf: ")
    assert finding(done, "ray")["found"] >= "2.60"
    assert "GiB available" in finding(done, "memory")["found"]


def test_a_port_in_use_keeps_the_graph_from_starting(
    content: dict[str, Any], tmp_path: Path
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        content["http_options"]["port"] = taken.getsockname()[1]
        done = examined(content, tmp_path, "--quick")
    assert done.code == 1
    assert finding(done, "port") == {
        "subject": "port",
        "state": "fault",
        "found": f"127.0.0.1:{content['http_options']['port']}: Address already in use",
        "help": "facegraph serve --port takes another",
    }


def has_ipv6() -> bool:
    """Tell whether this machine has the address ::1; many containers have not."""
    with suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6):
        return True
    return False


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
@pytest.mark.parametrize("host", ["::", "::1"])
def test_a_port_of_ipv6_in_use_is_a_fault_too(
    content: dict[str, Any], tmp_path: Path, host: str
) -> None:
    access = {"anonymous": True}
    content["applications"][0]["args"]["access"] = access  # "::" is no loopback address
    with socket.socket(socket.AF_INET6) as taken:
        taken.bind(("::1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        content["http_options"] = {"host": host, "port": port}
        done = examined(content, tmp_path, "--quick")
    free = examined(content, tmp_path, "--quick")
    assert finding(free, "port")["found"] == f"[{host}]:{port} is free"
    assert finding(done, "port")["found"] == f"[{host}]:{port}: Address already in use"


def test_missing_weights_come_with_the_command_that_fetches_them(
    content: dict[str, Any], tmp_path: Path
) -> None:
    args = content["applications"][0]["args"]
    args["recognizers"]["arcface"]["model"] = "rts"
    args["recognizers"]["arcface"]["precision"] = "float32"
    models = {"FACEGRAPH_MODELS": str(tmp_path / "models")}
    pool = examined(content, tmp_path, **models)
    assert pool.code == 0  # the graph starts without the pool
    missing = finding(pool, "recognizer arcface")
    assert (missing["state"], "no pytorch_model.pt" in missing["found"]) == ("note", True)
    assert "facegraph models pull rts" in missing["help"]
    args["detector"] = {"model": "retinaface-r50"}
    detector = examined(content, tmp_path, **models)
    assert (detector.code, finding(detector, "detector")["state"]) == (1, "fault")


def test_a_replica_that_fits_on_no_node_is_a_fault(content: dict[str, Any], tmp_path: Path) -> None:
    stage = content["applications"][0]["deployments"][1]
    stage["ray_actor_options"] = {"num_cpus": 4000, "num_gpus": 64}
    done = examined(content, tmp_path, "--quick")
    assert done.code == 1
    assert (finding(done, "num_cpus")["state"], finding(done, "num_gpus")["state"]) == (
        "fault",
        "fault",
    )


def test_weights_that_do_not_load_are_a_fault(content: dict[str, Any], tmp_path: Path) -> None:
    content["applications"][0]["args"]["recognizers"]["arcface"]["weights"] = str(tmp_path)
    (tmp_path / "w600k_mbf.onnx").write_bytes(b"not a network")
    done = examined(content, tmp_path)
    assert (done.code, finding(done, "recognizer arcface")["state"]) == (1, "fault")


def test_weights_that_cannot_be_read_are_a_fault(content: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "w600k_mbf.onnx").symlink_to("/proc/self/mem")  # even root cannot read it
    content["applications"][0]["args"]["recognizers"]["arcface"]["weights"] = str(tmp_path)
    done = examined(content, tmp_path)
    assert (done.code, finding(done, "recognizer arcface")) == (
        1,
        {
            "subject": "recognizer arcface",
            "state": "fault",
            "found": f"arcface-mbf: {tmp_path}/w600k_mbf.onnx: Input/output error",
            "help": "",
        },
    )


def test_an_invalid_serve_file_is_a_fault(content: dict[str, Any], tmp_path: Path) -> None:
    content["applications"][0]["args"]["detector"]["threads"] = 0
    done = examined(content, tmp_path)
    assert done.code == 1
    assert "args.detector.threads" in finding(done, "file")["found"]


def test_in_words_the_remedy_follows_its_fault(content: dict[str, Any], tmp_path: Path) -> None:
    content["applications"][0]["deployments"][1]["ray_actor_options"] = {"num_cpus": 4000}
    file = tmp_path / "profile.yaml"
    file.write_text(yaml.safe_dump(content))
    lines = facegraph("doctor", file, "--quick").out.splitlines()
    [place] = [number for number, line in enumerate(lines) if line.startswith("fault")]
    assert "num_cpus" in lines[place]
    assert "4000." in lines[place]  # and the other stages' shares
    assert lines[place + 1].strip() == "-> lower num_cpus in ray_actor_options, or add nodes"
    assert lines[-1] == "1 fault: the graph cannot start."


def test_the_last_line_says_that_the_graph_can_start(
    content: dict[str, Any], tmp_path: Path
) -> None:
    file = tmp_path / "profile.yaml"
    file.write_text(yaml.safe_dump(content))
    assert facegraph("doctor", file, "--quick").out.splitlines()[-1] == "The graph can start."
