"""One Ray cluster for the whole session, with two applications of the graph.

The first is serve_config.yaml with a second recognizer pool; nearly all tests use it. The second,
under /strict, requires an API key and has limits that an ordinary request exceeds (100 kB, 1 ms,
one request at a time), so only tests of refused requests can use it. Both are deployed once and
together, because starting the cluster and its replicas takes about a minute.

Tests on the cluster are marked `cluster`; `make test` runs the others after them.
"""

from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree
from typing import Any

import httpx
import pytest
from hypothesis import settings

from graph.client.client import FaceGraph
from graph.cluster.launch import RunningGraph, own_graph
from graph.cluster.serve_file import deployment_names, graph_config, read_serve_file
from tests.support.profiles import ROOT, with_galleries
from tests.support.waiting import TIMEOUT_S

API_KEY = "a key that only this test knows"
API_KEY_SHA256 = "5f94dd6f560e968e516ce3ebef9770d5d9f2ee00579df7abfc7863e4efa095c3"
STRICT_ARGS: dict[str, Any] = {
    "request_limits": {
        "max_bytes": 100_000,
        "max_concurrent": 1,
        "timeout_s": 0.001,
        "body_timeout_s": 3.0,
        "retry_after_s": 7,
    },
    "access": {
        "keys": {"tests": API_KEY_SHA256},
        "keys_reload_s": 0.2,
        "allowed_origins": ["https://app.example"],
    },
}

settings.register_profile("tests", deadline=None)
settings.load_profile("tests")


def tested_config(keys_file: Path) -> dict[str, Any]:
    """The two applications. The first has a second recognizer pool, galleries, time for a slow
    machine, and one ingress replica, so that answers about a replica's own state are consistent;
    the second has STRICT_ARGS."""
    content = read_serve_file(ROOT / "serve_config.yaml")
    shipped = content["applications"][0]
    pools = shipped["args"]["recognizers"] | {"second": {"model": "arcface-mbf"}}
    second = {"name": "Recognizer:second", "ray_actor_options": {"num_cpus": 0.1}}
    ingress, *stages = shipped["deployments"]
    scaling = ingress["autoscaling_config"] | {"min_replicas": 1}
    alone = [ingress | {"autoscaling_config": scaling}, *stages]
    limits = shipped["args"]["request_limits"] | {"timeout_s": TIMEOUT_S}
    args = shipped["args"] | {"recognizers": pools, "request_limits": limits}
    usual = with_galleries(
        shipped | {"args": args, "deployments": [*alone, second]},
        data_dir=str(keys_file.parent / "galleries"),
        purge_timeout_s=25,  # a deletion is to be purged on a slow machine too
    )
    access = STRICT_ARGS["access"] | {"keys_file": str(keys_file)}
    strict_args = STRICT_ARGS | {"access": access}
    strict = shipped | {"name": "strict", "route_prefix": "/strict", "args": strict_args}
    names = deployment_names(graph_config({"applications": [strict]}))
    strict["deployments"] = [
        {"name": name, "ray_actor_options": {"num_cpus": 0.05}} for name in names
    ]
    return content | {"applications": [usual, strict]}


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark every test that runs on the session's cluster."""
    if "running" in getattr(item, "fixturenames", ()):
        item.add_marker("cluster")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run tests of timing last: they load the cluster and kill its replicas."""
    items.sort(key=lambda item: item.get_closest_marker("timing") is not None)


@pytest.fixture(scope="session", autouse=True)
def openvino_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep OpenVINO's cache out of the user's folder. Delete it at the end: the stand-ins' models
    take hundreds of MB."""
    folder = tmp_path_factory.mktemp("openvino")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACEGRAPH_OPENVINO_CACHE", str(folder))
        yield
    rmtree(folder)


@pytest.fixture(scope="session")
def traces_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder to which the running graph writes traces of the requests that ask for it."""
    folder = tmp_path_factory.mktemp("traces")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACEGRAPH_TRACES", str(folder))
        yield folder


@pytest.fixture(scope="session")
def keys_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The strict application's file of further keys: empty at first."""
    file = tmp_path_factory.mktemp("access") / "keys.yaml"
    file.write_text("# NAME: SHA-256\n")
    return file


@pytest.fixture(scope="session")
def running(openvino_cache: None, keys_file: Path, traces_folder: Path) -> Iterator[RunningGraph]:
    """The session's cluster, with both applications."""
    # Only requests whose traceparent header asks for it are traced.
    tracing = {
        "enabled": True,
        "exporter_import_path": "graph.tracing:json_lines",
        "sampling_ratio": 0.0,
    }
    content = tested_config(keys_file) | {"tracing_config": tracing}
    # Logical CPUs and GPUs, enough to place the GPU profile on this machine.
    with own_graph(
        content,
        timeout_s=TIMEOUT_S,
        num_cpus=16,
        num_gpus=1,
        _system_config={"metrics_report_interval_ms": 2500},
    ) as graph:
        yield graph


@pytest.fixture(scope="session")
def http(running: RunningGraph) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running.url, timeout=TIMEOUT_S) as client:
        yield client


@pytest.fixture(scope="session")
def strict(running: RunningGraph) -> Iterator[httpx.Client]:
    """The strict application, called with its key."""
    headers = {"authorization": f"Bearer {API_KEY}"}
    with httpx.Client(
        base_url=f"{running.url}/strict", timeout=TIMEOUT_S, headers=headers
    ) as client:
        yield client


@pytest.fixture(scope="session")
def client(running: RunningGraph) -> FaceGraph:
    return FaceGraph.connect(running.app_name)
