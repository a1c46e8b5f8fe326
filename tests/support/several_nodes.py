"""The graph on a cluster of four nodes on this machine: python -m tests.support.several_nodes FILE

Writes its observations to FILE, as JSON. It is a process of its own because a process can join one
Ray cluster only, and the tests' process has joined the session's.
"""

import asyncio
import json
import os
import pickle
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import ray
from ray import serve
from ray.cluster_utils import Cluster

from deployments.contracts import Photo
from graph.client.client import FaceGraph
from graph.cluster.isolation import isolated, preloading, split_environment
from graph.cluster.launch import SHORT_DRAINING_S, RunningGraph, deploy, with_port
from graph.cluster.preflight import free_port
from graph.cluster.serve_file import read_serve_file
from tests.support.load import Load, Outcome
from tests.support.photos import GDP, YAOMING, photo, photo_bytes
from tests.support.profiles import ROOT
from tests.support.ray_private import deployments_of, node_stats
from tests.support.waiting import TIMEOUT_S, wait_until

NODES: dict[str, dict[str, Any]] = {
    "ingress": {"resources": {"ingress": 1}},
    "detector": {"resources": {"detector": 1}},
    "recognizer-1": {"labels": {"pool": "recognizers"}},
    "recognizer-2": {"labels": {"pool": "recognizers"}},
}
PLACES: dict[str, dict[str, Any]] = {
    "Ingress": {"resources": {"ingress": 0.1}},
    "Detector": {"resources": {"detector": 0.1}},
    "Aligner": {"resources": {"detector": 0.1}},
    "Recognizer:arcface": {"label_selector": {"pool": "recognizers"}},
    "Aggregator": {"resources": {"ingress": 0.1}},
}
CLIENTS = 4
CHIP_BYTES = 112 * 112 * 3
SETTLING_S = 1.0  # raylets report their object stores twice a second


def placed() -> dict[str, Any]:
    """serve_config.yaml with a placement of each stage, as an operator would write it."""
    content = read_serve_file(ROOT / "serve_config.yaml")
    content["proxy_location"] = "HeadOnly"
    del content["applications"][0]["autoscaling_policy"]  # no stage is scaled
    for deployment in content["applications"][0]["deployments"]:
        deployment["ray_actor_options"] = {"num_cpus": 0.1, **PLACES[deployment["name"]]}
        deployment["autoscaling_config"] = None
        if deployment["name"].startswith("Recognizer:"):
            deployment |= {"num_replicas": 2, "max_replicas_per_node": 1}
    return content


@contextmanager
def nodes(folder: str) -> Iterator[tuple[Cluster, dict[str, Any]]]:
    """The cluster, and its nodes by name; the head runs the ingress."""
    head, *others = NODES
    Path(tempfile.gettempdir(), "ray").mkdir(
        exist_ok=True
    )  # Ray writes the cluster's address there
    every = {"num_cpus": 1, "include_dashboard": False, "dashboard_port": 0}
    cluster = Cluster(
        initialize_head=True,
        head_node_args={
            **every,
            **NODES[head],
            "temp_dir": folder,
            "_system_config": preloading({}),
        },
    )
    try:
        started = {name: cluster.add_node(num_cpus=1, **NODES[name]) for name in others}
        ray.init(address=cluster.address, log_to_driver=False)
        yield cluster, {head: cluster.head_node} | started
        serve.shutdown()
    finally:
        ray.shutdown()
        cluster.shutdown()


def placement(app_name: str, names: dict[str, str]) -> dict[str, list[str]]:
    """By deployment, the nodes of its running replicas."""
    deployments = deployments_of(app_name)
    return {
        name: sorted(
            names[replica["node_id"]]
            for replica in deployment["replicas"]
            if replica["state"] == "RUNNING"
        )
        for name, deployment in deployments.items()
    }


def stored_bytes(names: dict[str, str]) -> dict[str, int]:
    """By node: bytes of all objects ever created in its store or copied to it."""
    time.sleep(SETTLING_S)
    return {
        names[node["NodeID"]]: node_stats(
            node["NodeManagerAddress"], node["NodeManagerPort"], include_memory_info=False
        ).store_stats.cumulative_created_bytes
        for node in ray.nodes()
        if node["Alive"]
    }


def large_photo() -> bytes:
    """A JPEG of more than `calls.inline_up_to_bytes`: noise does not compress."""
    pixels = cv2.resize(photo(GDP), (2100, 2793))
    noise = np.random.default_rng(0).integers(0, 60, pixels.shape, np.uint8)
    return cv2.imencode(".jpg", cv2.add(pixels, noise), [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


def transfers(graph: RunningGraph, names: dict[str, str]) -> dict[str, Any]:
    """The bytes that a comparison of a small or a large photo adds to each node's object store."""
    small, large = photo_bytes(GDP), large_photo()
    answers = {}
    for size, image in (("small", small), ("large", large)):
        before = stored_bytes(names)
        answer = httpx.post(
            f"{graph.url}/v1/compare", files={"source": image, "target": small}, timeout=TIMEOUT_S
        )
        after = stored_bytes(names)
        answers[size] = {
            "bytes": len(image),
            "similarity": answer.raise_for_status().json()["similarity"],
            "stored": {name: after[name] - before[name] for name in after},
        }
    return answers


def passed_on(graph: RunningGraph, names: dict[str, str]) -> dict[str, int]:
    """The bytes that the faces of a group add to each node's object store, on the way to an
    embedding."""
    before = stored_bytes(names)
    answer = httpx.post(
        f"{graph.url}/v1/embed",
        files={"image": photo_bytes(GDP)},
        data={"faces": "all"},
        timeout=60,
    )
    after = stored_bytes(names)
    faces = len(answer.raise_for_status().json()["faces"])
    return {name: after[name] - before[name] for name in after} | {"chips": faces * CHIP_BYTES}


def sent_on(graph: RunningGraph) -> dict[str, int]:
    """Bytes of a large photo, of the detector's answer to it and of the aligner's."""
    image = large_photo()
    detector = serve.get_deployment_handle("Detector", graph.app_name)
    aligner = serve.get_deployment_handle("Aligner", graph.app_name)

    async def ask() -> dict[str, int]:
        photos = [[Photo("image", image, faces="largest")]]
        found = await detector.detect.remote(photos, crops=True)
        chips = await aligner.align.remote(found)
        return {
            "photo": len(image),
            "crops": len(pickle.dumps(found)),
            "chips": len(pickle.dumps(chips)),
        }

    return asyncio.run(ask())


def lose_a_node(
    graph: RunningGraph, cluster: Cluster, node: Any, names: dict[str, str]
) -> dict[str, Any]:
    """Count the answers while one of the recognizer's two nodes is killed, and afterwards."""
    files = {"source": photo_bytes(YAOMING), "target": photo_bytes(YAOMING)}
    client = httpx.Client(timeout=TIMEOUT_S)
    compare = partial(client.post, f"{graph.url}/v1/compare", files=files)

    async def send(number: int, turn: int) -> Outcome:
        answer = await asyncio.to_thread(compare)
        same = answer.status_code == 200 and answer.json()["similarity"] > 0.99
        return Outcome(answer.status_code, same, failure="" if same else answer.text[:300])

    clients = Load(send)
    with client, clients.in_background(CLIENTS):
        time.sleep(2)
        cluster.remove_node(node, allow_graceful=False)
        lost_at = time.perf_counter()
        gone = names[node.node_id]
        wait_until(lambda: gone not in placement(graph.app_name, names)["Recognizer:arcface"])
        time.sleep(2)
    answers = [
        (one.began, "right" if one.outcome.right else one.outcome.failure) for one in clients.sent
    ]
    return {
        "answers": Counter(text for _, text in answers),
        "after": Counter(text for began, text in answers if began > lost_at),
    }


def by_handle(graph: RunningGraph) -> bool:
    client = FaceGraph.connect(graph.app_name)
    return client.compare(photo_bytes(YAOMING), photo_bytes(YAOMING)).matched


def main() -> None:
    content, variables = split_environment(with_port(placed(), free_port()))
    with tempfile.TemporaryDirectory(prefix="facegraph-") as folder, ExitStack() as stack:
        os.environ |= isolated(variables, Path(folder), SHORT_DRAINING_S)
        cluster, all_nodes = stack.enter_context(nodes(folder))
        names = {node.node_id: name for name, node in all_nodes.items()}
        graph = deploy(content, timeout_s=TIMEOUT_S)
        seen: dict[str, Any] = {"placement": placement(graph.app_name, names)}
        seen["by_handle"] = by_handle(graph)
        seen["sent_on"] = sent_on(graph)
        seen["transfers"] = transfers(graph, names)
        seen["passed_on"] = passed_on(graph, names)
        seen["lost"] = lose_a_node(graph, cluster, all_nodes["recognizer-2"], names)
        seen["placement_after"] = placement(graph.app_name, names)
        Path(sys.argv[1]).write_text(json.dumps(seen))


if __name__ == "__main__":
    main()
