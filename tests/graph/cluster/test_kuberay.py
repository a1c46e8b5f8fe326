"""The manifests in configs/ against KubeRay's published schema, and against the profiles that they
put on Kubernetes."""

import json
import re
from collections.abc import Iterator
from copy import deepcopy
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml
from jsonschema import Draft202012Validator

from graph.cluster.serve_file import read_serve_file
from tests.support.profiles import ROOT

SCHEMA = json.loads((ROOT / "tests/data/kuberay/rayservice-v1.schema.json").read_text())
# Variables of a pod that are no switches of Serve's.
CLUSTER_VARIABLES = {"RAY_SERVE_DEFAULT_HTTP_HOST", "RAY_USAGE_STATS_ENABLED"}
# By manifest: the profile that it serves, and the fields in which its deployments may differ.
SERVED = {
    "kuberay-cpu.yaml": ("serve_config.yaml", ("ray_actor_options", "autoscaling_config")),
    "kuberay-gpu.yaml": ("configs/profiles/gpu.yaml", ("ray_actor_options",)),
}


def manifest(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / "configs/profiles" / name).read_text())
    return content


def groups(content: dict[str, Any]) -> list[dict[str, Any]]:
    cluster = content["spec"]["rayClusterConfig"]
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


def container(group: dict[str, Any]) -> dict[str, Any]:
    (only,) = group["template"]["spec"]["containers"]
    assert isinstance(only, dict)
    return only


def served(content: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The manifest's serveConfigV2, checked like any Serve config file."""
    file = folder / "serve.yaml"
    file.write_text(content["spec"]["serveConfigV2"])
    return read_serve_file(file)


def faults(content: dict[str, Any]) -> list[str]:
    errors = Draft202012Validator(SCHEMA).iter_errors(content)
    return [".".join(map(str, error.absolute_path)) for error in errors]


@pytest.fixture(params=SERVED)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_manifest_fits_kuberays_schema(name: str) -> None:
    assert faults(manifest(name)) == []


def test_the_schema_finds_a_misspelt_key_and_a_wrong_type(name: str) -> None:
    content = manifest(name)
    content["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]["minReplica"] = 1
    container(groups(content)[0])["readinessProbes"] = {}
    content["spec"]["excludeHeadPodFromServeSvc"] = "yes"
    assert sorted(faults(content)) == [
        "spec.excludeHeadPodFromServeSvc",
        "spec.rayClusterConfig.headGroupSpec.template.spec.containers.0",
        "spec.rayClusterConfig.workerGroupSpecs.0",
    ]


def test_a_manifest_serves_its_profile_but_for_what_its_comment_lists(
    name: str, tmp_path: Path
) -> None:
    profile, differing = SERVED[name]
    expected, found = deepcopy(read_serve_file(ROOT / profile)), served(manifest(name), tmp_path)
    assert found["http_options"].pop("host") == "0.0.0.0"
    del expected["http_options"]["host"]
    (application,) = found["applications"]
    assert application["args"].pop("access") == {"keys_file": "/etc/facegraph/keys/keys.yaml"}
    for content in (expected, found):
        for deployment in content["applications"][0]["deployments"]:
            for key in differing:
                deployment.pop(key)
    assert found == expected


def test_every_pod_has_serves_switches_in_its_environment(name: str, tmp_path: Path) -> None:
    content = manifest(name)
    options = served(content, tmp_path)["controller_options"]
    switches = options["runtime_env"]["env_vars"]
    for group in groups(content):
        environment = {entry["name"]: entry["value"] for entry in container(group)["env"]}
        assert environment.items() >= switches.items()
        own = {key for key in environment if not key.startswith("FACEGRAPH_")}
        assert own == switches.keys() | CLUSTER_VARIABLES


def test_a_manifest_names_the_versions_of_the_repository(name: str) -> None:
    content = manifest(name)
    assert content["spec"]["rayClusterConfig"]["rayVersion"] == ray.__version__
    kind = name.removeprefix("kuberay-").removesuffix(".yaml")
    images = {container(group)["image"] for group in groups(content)}
    assert images == {f"facegraph:{version('facegraph')}-{kind}"}


def test_rays_own_ports_ask_for_a_token(name: str) -> None:
    assert manifest(name)["spec"]["rayClusterConfig"]["authOptions"] == {"mode": "token"}


def test_a_pod_mounts_only_volumes_that_it_has(name: str) -> None:
    content = manifest(name)
    for group in groups(content):
        spec = group["template"]["spec"]
        mounted = {mount["name"] for mount in container(group)["volumeMounts"]}
        assert mounted == {volume["name"] for volume in spec["volumes"]}
        paths = {mount["mountPath"] for mount in container(group)["volumeMounts"]}
        folders = {
            entry["value"]
            for entry in container(group)["env"]
            if entry["name"].startswith("FACEGRAPH_")
        }
        assert folders | {"/etc/facegraph/keys"} == paths


def test_a_pods_end_leaves_time_for_its_requests(name: str, tmp_path: Path) -> None:
    content = manifest(name)
    (application,) = served(content, tmp_path)["applications"]
    longest = max(
        entry.get("graceful_shutdown_timeout_s", 20) for entry in application["deployments"]
    )
    for group in groups(content)[1:]:
        command = container(group)["lifecycle"]["preStop"]["exec"]["command"][-1]
        drained_s = int(command.rpartition("sleep ")[2])
        assert f"--deadline-remaining-seconds {drained_s}" in command
        assert longest < drained_s < group["template"]["spec"]["terminationGracePeriodSeconds"]


def test_the_image_is_made_of_files_that_are_there_and_let_through() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.M)
    files = {file for line in copied for file in line.split()}
    assert all((ROOT / file).exists() for file in files)
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert {line.removeprefix("!") for line in ignored if line.startswith("!")} == files


def smallest_nodes(content: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for group in groups(content)[1:]:
        limits = container(group)["resources"]["limits"]
        for _ in range(group["minReplicas"]):
            yield {
                "num_cpus": float(limits["cpu"]),
                "num_gpus": float(limits.get("nvidia.com/gpu", 0)),
                "labels": group.get("labels", {}),
            }


def test_the_smallest_cluster_has_room_for_the_smallest_graph(name: str, tmp_path: Path) -> None:
    content = manifest(name)
    nodes = list(smallest_nodes(content))
    (application,) = served(content, tmp_path)["applications"]
    for deployment in application["deployments"]:
        wanted = deployment["ray_actor_options"]
        for _ in range(deployment["autoscaling_config"]["min_replicas"]):
            node = next(node for node in nodes if fits(wanted, node))
            for resource in ("num_cpus", "num_gpus"):
                node[resource] -= wanted.get(resource, 0)


def fits(wanted: dict[str, Any], node: dict[str, Any]) -> bool:
    selected = wanted.get("label_selector", {}).items() <= node["labels"].items()
    return bool(selected) and all(
        wanted.get(resource, 0) <= node[resource] + 1e-9 for resource in ("num_cpus", "num_gpus")
    )
