"""The objects that Helm renders from configs/kubernetes, against the schemas of Kubernetes, KubeRay
and the Prometheus operator, and against the profiles that it serves."""

import json
import re
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

import pytest
import ray
import yaml
from cloudcoil.models.kubernetes.batch import v1 as batch
from cloudcoil.models.kubernetes.core import v1 as core
from cloudcoil.models.kubernetes.networking import v1 as networking
from cloudcoil.models.kubernetes.policy import v1 as policy
from cloudcoil.models.prometheus_operator import v1 as prometheus
from jsonschema import Draft202012Validator
from pydantic import BaseModel, ValidationError

from graph.cluster.serve_file import graph_config, read_serve_file
from tests.support.chart import (
    CHART,
    EVERYTHING,
    VALUES,
    Object,
    container,
    groups,
    labels,
    of_kind,
    only,
    rendered,
    run_helm,
    selects,
)
from tests.support.profiles import ROOT

SCHEMA = json.loads((ROOT / "tests/data/kuberay/rayservice-v1.schema.json").read_text())
KINDS: dict[str, type[BaseModel]] = {
    "ConfigMap": core.ConfigMap,
    "Ingress": networking.Ingress,
    "Job": batch.Job,
    "NetworkPolicy": networking.NetworkPolicy,
    "PersistentVolumeClaim": core.PersistentVolumeClaim,
    "PodDisruptionBudget": policy.PodDisruptionBudget,
    "PodMonitor": prometheus.PodMonitor,
    "PrometheusRule": prometheus.PrometheusRule,
}
PROFILES = {"cpu": "serve_config.yaml", "gpu": "configs/profiles/gpu.yaml"}
# Variables of a pod that are no switches of Serve's.
CLUSTER_VARIABLES = {
    "RAY_SERVE_DEFAULT_HTTP_HOST",
    "RAY_USAGE_STATS_ENABLED",
    "RAY_USAGE_STATS_REPORT_URL",
}
PULL = "pullModels.enabled=true"


@pytest.fixture(params=PROFILES)
def profile(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def service(profile: str) -> Object:
    """The RayService of a profile, with the chart's own values."""
    return only(rendered(f"profile={profile}"), "RayService")


@pytest.fixture
def everything(profile: str) -> list[Object]:
    return rendered(f"profile={profile}", *EVERYTHING)


def served(service: Object, folder: Path) -> dict[str, Any]:
    """The serveConfigV2, checked like any Serve config file."""
    file = folder / "serve.yaml"
    file.write_text(service["spec"]["serveConfigV2"])
    return read_serve_file(file)


def faults(service: Object) -> list[str]:
    errors = Draft202012Validator(SCHEMA).iter_errors(service)
    return [".".join(map(str, error.absolute_path)) for error in errors]


def as_kubernetes_reads(entry: Object) -> Object:
    """The object without the fields that its kind does not have."""
    read = KINDS[entry["kind"]].model_validate(entry)
    return read.model_dump(mode="json", by_alias=True, exclude_unset=True)


def test_the_service_fits_kuberays_schema(service: Object, everything: list[Object]) -> None:
    assert faults(service) == []
    assert faults(only(everything, "RayService")) == []


def test_resources_may_be_whole_numbers() -> None:
    gpus = r"profiles.gpu.workers.gpu.resources.nvidia\.com/gpu=2"
    service = only(rendered("profile=gpu", "head.resources.cpu=4", gpus), "RayService")
    head, _, _ = groups(service)
    assert container(head)["resources"]["limits"]["cpu"] == 4
    assert faults(service) == []


def test_kuberays_schema_finds_a_misspelt_key_and_a_wrong_type(service: Object) -> None:
    service["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]["minReplica"] = 1
    container(groups(service)[0])["readinessProbes"] = {}
    service["spec"]["excludeHeadPodFromServeSvc"] = "yes"
    assert sorted(faults(service)) == [
        "spec.excludeHeadPodFromServeSvc",
        "spec.rayClusterConfig.headGroupSpec.template.spec.containers.0",
        "spec.rayClusterConfig.workerGroupSpecs.0",
    ]


def test_the_other_objects_fit_kubernetes_and_the_prometheus_operator() -> None:
    others = [
        entry
        for entry in rendered("profile=gpu", PULL, *EVERYTHING)
        if entry["kind"] != "RayService"
    ]
    assert {entry["kind"] for entry in others} == KINDS.keys()
    for entry in others:
        assert as_kubernetes_reads(entry) == entry


def test_their_check_finds_a_misspelt_key_and_a_wrong_type() -> None:
    budget = only(rendered(), "PodDisruptionBudget")
    budget["spec"]["minAvailible"] = budget["spec"].pop("minAvailable")
    assert as_kubernetes_reads(budget) != budget
    ingress = only(rendered(*EVERYTHING), "Ingress")
    ingress["spec"]["rules"] = "faces.example.org"
    with pytest.raises(ValidationError):
        as_kubernetes_reads(ingress)


def test_the_chart_is_well_formed() -> None:
    assert "0 chart(s) failed" in run_helm("lint", "--strict", str(CHART))


def test_a_packaged_chart_renders_the_same(tmp_path: Path) -> None:
    run_helm("package", str(CHART), "--destination", str(tmp_path))
    (package,) = tmp_path.iterdir()
    assert rendered(*EVERYTHING, chart=package) == rendered(*EVERYTHING)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("profil=gpu", "'profil' not allowed"),
        ("profiles.cpu.workers.cpu.minReplica=1", "'minReplica' not allowed"),
        ("redis.address=redis", "'redis' does not match"),
        ("ingress.enabled=true", "ingress.host: the name at which"),
        (PULL, "pullModels: the profile has no modelsClaim"),
        ("serveConfig=a: [", "serveConfig: error converting YAML"),
    ],
)
def test_a_wrong_value_is_refused(value: str, message: str) -> None:
    with pytest.raises(CalledProcessError) as refused:
        rendered(value)
    assert message in refused.value.stderr


def test_it_serves_the_profile_but_for_the_differences_in_the_values(
    profile: str, service: Object, tmp_path: Path
) -> None:
    expected = flat(read_serve_file(ROOT / PROFILES[profile]))
    expected["http_options.host"] = "0.0.0.0"
    expected["applications.facegraph.args.access.keys_file"] = "/etc/facegraph/keys/keys.yaml"
    for name, options in VALUES["profiles"][profile]["deployments"].items():
        if name != "Gallery":
            expected |= flat(options, f"applications.facegraph.deployments.{name}.")
    assert flat(served(service, tmp_path)) == expected


def flat(content: dict[str, Any], path: str = "") -> dict[str, Any]:
    """Values by their paths; entries of lists by their names."""
    values: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, list) and all(isinstance(entry, dict) for entry in value):
            value = {entry["name"]: entry for entry in value}
        nested = flat(value, f"{path}{key}.") if isinstance(value, dict) else {}
        values |= nested or {f"{path}{key}": value}
    return values


def test_another_serve_file_takes_the_profiles_place(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    text = (ROOT / "configs/profiles/full-cpu.yaml").read_text()
    file.write_text(text.replace("timeout_s: 60", "timeout_s: 50"))
    printed = run_helm("template", "own", str(CHART), "--set-file", f"serveConfig={file}")
    service = only(list(yaml.safe_load_all(printed)), "RayService")
    limits = graph_config(served(service, tmp_path)).request_limits
    assert limits.timeout_s == 50
    assert service["metadata"]["name"] == "own"


def test_a_serve_file_needs_no_more_than_applications(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    graph = {"import_path": "graph.app:build_app"}
    other = {"name": "other", "import_path": "other:app", "route_prefix": "/other"}
    file.write_text(yaml.safe_dump({"applications": [graph, other]}))
    options = ("--set", "monitoring.enabled=true", "--set-file", f"serveConfig={file}")
    printed = list(yaml.safe_load_all(run_helm("template", "own", str(CHART), *options)))
    rules = yaml.safe_dump(only(printed, "PrometheusRule")["spec"])
    assert 'application="default"' in rules
    service = only(printed, "RayService")
    assert yaml.safe_load(service["spec"]["serveConfigV2"]) == {
        "applications": [
            graph | {"args": {"access": {"keys_file": "/etc/facegraph/keys/keys.yaml"}}},
            other,
        ],
        "http_options": {"host": "0.0.0.0"},
    }


def test_every_pod_has_serves_switches_and_the_values_in_its_environment(
    everything: list[Object], tmp_path: Path
) -> None:
    service = only(everything, "RayService")
    switches = served(service, tmp_path)["controller_options"]["runtime_env"]["env_vars"]
    for group in groups(service):
        environment = {entry["name"]: entry.get("value") for entry in container(group)["env"]}
        assert environment.items() >= switches.items()
        own = {key for key in environment if not key.startswith("FACEGRAPH_")}
        assert own == switches.keys() | CLUSTER_VARIABLES | {"OTEL_SERVICE_NAME"}


def test_a_variable_in_the_values_takes_the_place_of_the_charts() -> None:
    service = only(rendered("environment.RAY_SERVE_HAPROXY_RETRIES=many"), "RayService")
    for group in groups(service):
        variables = container(group)["env"]
        names = [entry["name"] for entry in variables]
        assert len(names) == len(set(names))
        assert {"name": "RAY_SERVE_HAPROXY_RETRIES", "value": "many"} in variables


def test_the_chart_names_the_versions_of_the_repository(profile: str, service: Object) -> None:
    assert service["spec"]["rayClusterConfig"]["rayVersion"] == ray.__version__
    images = {container(group)["image"] for group in groups(service)}
    assert images == {f"facegraph:{version('facegraph')}-{profile}"}


def test_an_image_of_a_registry_of_ones_own() -> None:
    values = ("image.repository=registry.example.org/faces", "image.tag=v7")
    objects = rendered("profile=gpu", PULL, *values)
    (puller,) = only(objects, "Job")["spec"]["template"]["spec"]["containers"]
    pods = [container(group) for group in groups(only(objects, "RayService"))]
    assert {pod["image"] for pod in (puller, *pods)} == {"registry.example.org/faces:v7"}


def test_rays_own_ports_ask_for_a_token(service: Object) -> None:
    assert service["spec"]["rayClusterConfig"]["authOptions"] == {"mode": "token"}


def test_a_pod_mounts_only_volumes_that_it_has(service: Object) -> None:
    for group in groups(service):
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


def test_pods_fit_kubernetes_restricted_security_standard(profile: str) -> None:
    objects = rendered(f"profile={profile}", *([PULL] if profile == "gpu" else []))
    service = only(objects, "RayService")
    templates = [group["template"] for group in groups(service)]
    templates += [job["spec"]["template"] for job in of_kind(objects, "Job")]
    for template in templates:
        pod = template["spec"]["securityContext"]
        assert pod["runAsNonRoot"] is True
        assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
    containers = [entry for template in templates for entry in template["spec"]["containers"]]
    containers.append(service["spec"]["rayClusterConfig"]["autoscalerOptions"])
    for entry in containers:
        assert entry["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        }


def test_only_the_heads_autoscaler_may_call_kubernetes(service: Object) -> None:
    for group in groups(service)[1:]:
        assert group["template"]["spec"]["automountServiceAccountToken"] is False


def test_a_pods_end_leaves_time_for_its_requests(service: Object, tmp_path: Path) -> None:
    (application,) = served(service, tmp_path)["applications"]
    longest = max(
        entry.get("graceful_shutdown_timeout_s", 20) for entry in application["deployments"]
    )
    for group in groups(service)[1:]:
        command = container(group)["lifecycle"]["preStop"]["exec"]["command"][-1]
        drained_s = int(command.rpartition("sleep ")[2])
        assert f"--deadline-remaining-seconds {drained_s};" in command
        assert longest < drained_s < group["template"]["spec"]["terminationGracePeriodSeconds"]
    assert longest < service["spec"]["rayClusterDeletionDelaySeconds"]


def test_the_image_is_made_of_files_that_are_there_and_let_through() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.M)
    files = {file for line in copied for file in line.split()}
    assert all((ROOT / file).exists() for file in files)
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert {line.removeprefix("!") for line in ignored if line.startswith("!")} == files


def test_the_smallest_cluster_has_room_for_the_smallest_graph(
    everything: list[Object], tmp_path: Path
) -> None:
    service = only(everything, "RayService")
    nodes = list(smallest_nodes(service))
    (application,) = served(service, tmp_path)["applications"]
    for deployment in application["deployments"]:
        wanted = deployment["ray_actor_options"]
        for _ in range(deployment["autoscaling_config"]["min_replicas"]):
            node = next(node for node in nodes if fits(wanted, node))
            for resource in ("num_cpus", "num_gpus"):
                node[resource] -= wanted.get(resource, 0)


def smallest_nodes(service: Object) -> Iterator[dict[str, Any]]:
    for group in groups(service)[1:]:
        limits = container(group)["resources"]["limits"]
        for _ in range(group["minReplicas"]):
            yield {
                "num_cpus": float(limits["cpu"]),
                "num_gpus": float(limits.get("nvidia.com/gpu", 0)),
                "labels": group.get("labels", {}),
            }


def fits(wanted: dict[str, Any], node: dict[str, Any]) -> bool:
    selected = wanted.get("label_selector", {}).items() <= node["labels"].items()
    return bool(selected) and all(
        wanted.get(resource, 0) <= node[resource] + 1e-9 for resource in ("num_cpus", "num_gpus")
    )


# -- networks --


def rules(objects: list[Object], pod: dict[str, str], direction: str) -> list[Object]:
    """The rules of all policies for one pod; direction: ingress or egress."""
    policies = [
        entry["spec"]
        for entry in of_kind(objects, "NetworkPolicy")
        if selects(entry["spec"]["podSelector"], pod)
    ]
    assert any(direction.title() in spec["policyTypes"] for spec in policies)
    return [rule for spec in policies for rule in spec.get(direction, ())]


def ports(found: list[Object]) -> list[tuple[int, ...]]:
    """The ports of each rule; of a rule without, none, which means all."""
    return sorted(tuple(port["port"] for port in rule.get("ports", ())) for rule in found)


def test_nothing_leaves_a_worker_but_to_its_cluster_and_the_names_servers(profile: str) -> None:
    objects = rendered(f"profile={profile}")
    for group in groups(only(objects, "RayService"))[1:]:
        own, names = rules(objects, labels(group), "egress")
        assert "ports" not in own
        assert all(selects(peer["podSelector"], labels(group)) for peer in own["to"])
        assert own["to"][0]["podSelector"]["matchLabels"]
        peers, cache = names["to"]
        assert peers["namespaceSelector"]["matchLabels"] == {
            "kubernetes.io/metadata.name": "kube-system"
        }
        assert cache == {"ipBlock": {"cidr": "169.254.20.10/32"}}
        assert names["ports"] == [
            {"port": 53, "protocol": "UDP"},
            {"port": 53, "protocol": "TCP"},
        ]


def test_the_head_also_calls_the_kubernetes_api_which_can_be_narrowed() -> None:
    (head, *_) = groups(only(rendered(), "RayService"))
    narrowed = rendered("networkPolicy.apiServer[0].ipBlock.cidr=10.0.0.1/32")
    assert ports(rules(narrowed, labels(head), "egress")) == [(), (53, 53), (443, 6443)]
    (api,) = (
        rule
        for rule in rules(narrowed, labels(head), "egress")
        if {"port": 443} in rule.get("ports", ())
    )
    assert api["to"] == [{"ipBlock": {"cidr": "10.0.0.1/32"}}]


def test_redis_the_database_and_the_collector_are_let_through_where_they_are_used(
    everything: list[Object],
) -> None:
    head, worker, *_ = groups(only(everything, "RayService"))
    found = ports(rules(everything, labels(worker), "egress"))
    assert found == [(), (53, 53), (4318,), (5432,), (6380,)]
    found = ports(rules(everything, labels(head), "egress"))
    assert found == [(), (53, 53), (443, 6443), (4318,), (5432,), (6380,)]


def test_each_port_is_open_to_its_callers_only() -> None:
    objects = rendered()
    head, worker = groups(only(objects, "RayService"))
    callers = {
        8000: "ingress-nginx",
        8080: "monitoring",
        8265: "kuberay-operator",
    }
    for pod, expected in ((head, [(), (8080,), (8265,)]), (worker, [(), (8000,), (8080,)])):
        found = rules(objects, labels(pod), "ingress")
        assert ports(found) == expected
        for rule in found:
            assert rule["from"], "an empty list would let everybody in"
            for port in rule.get("ports", ()):
                assert callers[port["port"]] in json.dumps(rule["from"])


def test_without_callers_a_port_is_closed() -> None:
    objects = rendered("networkPolicy.clients=null", "networkPolicy.prometheus=null")
    worker = groups(only(objects, "RayService"))[1]
    assert ports(rules(objects, labels(worker), "ingress")) == [()]


def test_the_policies_can_be_left_out() -> None:
    assert not of_kind(rendered("networkPolicy.enabled=false"), "NetworkPolicy")


def test_an_ingress_takes_what_the_graph_takes(
    profile: str, everything: list[Object], tmp_path: Path
) -> None:
    ingress = only(everything, "Ingress")
    limits = graph_config(served(only(everything, "RayService"), tmp_path)).request_limits
    annotations = ingress["metadata"]["annotations"]
    size, seconds = (
        annotations[f"nginx.ingress.kubernetes.io/{name}"]
        for name in ("proxy-body-size", "proxy-read-timeout")
    )
    assert int(size.removesuffix("m")) * 2**20 >= limits.max_bytes
    assert int(seconds) > limits.timeout_s


# -- faults, weights, monitoring --


def test_a_pod_whose_ray_does_not_answer_ends_after_a_minute(service: Object) -> None:
    """It is then replaced, as its container is not restarted."""
    raylet, gcs = "localhost:52365/api/local_raylet_healthz", "localhost:8265/api/gcs_healthz"
    for group, asked in zip(groups(service), [[raylet, gcs], [raylet], [raylet]], strict=False):
        probe = container(group)["livenessProbe"]
        command = probe["exec"]["command"][-1]
        assert re.findall(r"http://(\S+) \| grep -q success", command) == asked
        assert command.count("&&") == len(asked) - 1
        assert probe["timeoutSeconds"] > 2 * len(asked)  # `wget -T 2`
        assert probe["periodSeconds"] * probe["failureThreshold"] == 60
        assert group["template"]["spec"]["restartPolicy"] == "Never"


def test_redis_keeps_the_clusters_state(everything: list[Object]) -> None:
    cluster = only(everything, "RayService")["spec"]["rayClusterConfig"]
    assert cluster["gcsFaultToleranceOptions"] == {
        "redisAddress": "rediss://redis:6380",
        "redisPassword": {
            "valueFrom": {"secretKeyRef": {"name": "facegraph-redis", "key": "password"}}
        },
    }
    cluster = only(rendered(), "RayService")["spec"]["rayClusterConfig"]
    assert "gcsFaultToleranceOptions" not in cluster


def test_a_secret_with_the_databases_url_switches_galleries_on(
    profile: str, service: Object, everything: list[Object], tmp_path: Path
) -> None:
    assert not graph_config(served(service, tmp_path)).gallery.enabled
    own = only(everything, "RayService")
    content = served(own, tmp_path)
    assert graph_config(content).gallery.enabled
    options = content["applications"][0]["deployments"][-1]
    assert options == {"name": "Gallery"} | VALUES["profiles"][profile]["deployments"]["Gallery"]
    secret = {"secretKeyRef": {"name": "facegraph-galleries", "key": "dsn"}}
    for group in groups(own):
        dsn = {"name": "FACEGRAPH_GALLERY_DSN", "valueFrom": secret}
        assert dsn in container(group)["env"]
    assert "FACEGRAPH_GALLERY_DSN" not in yaml.safe_dump(service)


def test_nodes_are_emptied_one_pod_of_a_group_at_a_time(profile: str, service: Object) -> None:
    budgets = of_kind(rendered(f"profile={profile}"), "PodDisruptionBudget")
    for group in groups(service)[1:]:
        chosen = [
            budget["spec"]["minAvailable"]
            for budget in budgets
            if selects(budget["spec"]["selector"], labels(group))
        ]
        assert chosen == ([group["minReplicas"] - 1] if group["minReplicas"] > 1 else [])


def test_the_job_pulls_every_model_that_the_graph_serves(tmp_path: Path) -> None:
    objects = rendered("profile=gpu", PULL)
    (puller,) = only(objects, "Job")["spec"]["template"]["spec"]["containers"]
    config = graph_config(served(only(objects, "RayService"), tmp_path))
    models = {config.detector.model, *(pool.model for pool in config.recognizers.values())}
    assert puller["command"][:3] == ["facegraph", "models", "pull"]
    assert set(puller["command"][3:]) == models
    (mount,) = puller["volumeMounts"]
    assert puller["env"] == [{"name": "FACEGRAPH_MODELS", "value": mount["mountPath"]}]


def test_every_pod_is_scraped_at_the_port_that_it_names(everything: list[Object]) -> None:
    monitor = only(everything, "PodMonitor")
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    for group in groups(only(everything, "RayService")):
        assert selects(monitor["spec"]["selector"], labels(group))
        assert endpoint["port"] in {port["name"] for port in container(group)["ports"]}
    assert monitor["metadata"]["labels"]["release"] == "prometheus"


def test_grafana_gets_the_dashboard(everything: list[Object]) -> None:
    config = only(everything, "ConfigMap")
    assert config["metadata"]["labels"]["grafana_dashboard"] == "1"
    dashboard = json.loads((ROOT / "configs/grafana-dashboard.json").read_text())
    assert json.loads(config["data"]["facegraph.json"]) == dashboard
