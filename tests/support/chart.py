"""The Helm chart configs/kubernetes as Helm renders it, and parts of its objects."""

import subprocess
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.support.helm import helm
from tests.support.profiles import ROOT

CHART = ROOT / "configs" / "kubernetes"
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
# Values that turn everything on.
EVERYTHING = (
    "monitoring.enabled=true",
    "monitoring.labels.release=prometheus",
    "ingress.enabled=true",
    "ingress.host=faces.example.org",
    "ingress.tlsSecret=facegraph-tls",
    "redis.address=rediss://redis:6380",
    "redis.passwordSecret=facegraph-redis",
    "galleries.dsnSecret=facegraph-galleries",
    "networkPolicy.collector[0].podSelector.matchLabels.app=collector",
    "environment.OTEL_SERVICE_NAME=facegraph",
    "image.pullSecrets[0].name=registry",
)
Object = dict[str, Any]


def run_helm(*arguments: str) -> str:
    """Return what Helm prints. CalledProcessError, with its stderr, if it fails."""
    done = subprocess.run([helm(), *arguments], capture_output=True, text=True, check=True)
    return done.stdout


def rendered(*values: str, chart: Path = CHART) -> list[Object]:
    """The objects of `helm template facegraph` with values as in --set."""
    return deepcopy(_rendered(values, chart))


@cache
def _rendered(values: tuple[str, ...], chart: Path) -> list[Object]:
    options = [word for value in values for word in ("--set", value)]
    text = run_helm("template", "facegraph", str(chart), "--namespace", "faces", *options)
    return list(yaml.safe_load_all(text))


def of_kind(objects: list[Object], kind: str) -> list[Object]:
    return [entry for entry in objects if entry["kind"] == kind]


def only(objects: list[Object], kind: str) -> Object:
    (found,) = of_kind(objects, kind)
    return found


def groups(service: Object) -> list[Object]:
    """The head group and the worker groups of a RayService."""
    cluster = service["spec"]["rayClusterConfig"]
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


def container(group: Object) -> Object:
    (found,) = group["template"]["spec"]["containers"]
    assert isinstance(found, dict)
    return found


def labels(group: Object) -> dict[str, str]:
    """A pod's labels, with KubeRay's own."""
    own: dict[str, str] = group["template"]["metadata"]["labels"]
    name = group.get("groupName")
    kind = "worker" if name else "head"
    return {**own, "ray.io/node-type": kind, "ray.io/group": name or "headgroup"}


def selects(selector: Object, pod: dict[str, str]) -> bool:
    """True if a selector of labels chooses a pod; it has no matchExpressions."""
    assert selector.keys() <= {"matchLabels"}
    return bool(selector.get("matchLabels", {}).items() <= pod.items())
