"""Faults of Serve config files."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.errors import InvalidConfig
from graph.cluster.serve_file import deployment_names, graph_config, read_serve_file
from tests.support.profiles import PROFILES, ROOT

SHIPPED = ROOT / "serve_config.yaml"
DETECTOR, ALIGNER, RECOGNIZER = 1, 2, 3  # places among the shipped file's deployments
APP = "applications[0]"
VARIABLES = "controller_options.runtime_env.env_vars"
DETECTORS = f"{APP}.deployments[{DETECTOR}]"


@pytest.fixture
def content() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(SHIPPED.read_text())
    deployments = content["applications"][0]["deployments"]
    assert deployments[DETECTOR]["name"] == "Detector"
    assert deployments[ALIGNER]["name"] == "Aligner"
    assert deployments[RECOGNIZER]["name"] == "Recognizer:arcface"
    return content


def put(content: dict[str, Any], path: str, value: object) -> None:
    """Sets the value at `path`, such as `applications[0].args.detector`."""
    place: Any = content
    *steps, last = path.replace("[", ".[").split(".")
    for step in steps:
        place = place[int(step[1:-1]) if step.startswith("[") else step]
    place[last] = value


def faults(content: object, folder: Path) -> list[str]:
    """The file's faults, without the file's name that every line begins with."""
    path = folder / "config.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    with pytest.raises(InvalidConfig) as caught:
        read_serve_file(path)
    assert caught.value.message.startswith(f"{path}: ")
    return caught.value.message.removeprefix(f"{path}: ").split(f"\n{path}: ")


def test_the_shipped_file_is_accepted_as_it_is(content: dict[str, Any]) -> None:
    assert read_serve_file(SHIPPED) == content


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_every_profile_is_accepted_and_names_every_deployment(profile: Path) -> None:
    content = read_serve_file(profile)
    named = [deployment["name"] for deployment in content["applications"][0]["deployments"]]
    assert sorted(named) == sorted(deployment_names(graph_config(content)))


def test_the_shipped_file_serves_the_default_models() -> None:
    config = graph_config(read_serve_file(SHIPPED))
    assert config.detector.model == "retinaface-mnet025"
    assert config.recognizers["arcface"].model == "arcface-mbf"


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("proxy", None),
        ("http_options.prot", "port"),
        (f"{APP}.route_prefx", "route_prefix"),
        (f"{DETECTORS}.max_ongoing_request", "max_ongoing_requests"),
        (f"{DETECTORS}.autoscaling_config.min_replica", "min_replicas"),
        (
            f"{DETECTORS}.autoscaling_config.target_num_ongoing_requests_per_replica",
            "target_ongoing_requests",
        ),
        (f"{DETECTORS}.ray_actor_options.num_cpu", "num_cpus"),
    ],
)
def test_a_key_that_serve_would_drop_is_named(
    content: dict[str, Any], tmp_path: Path, path: str, meant: str | None
) -> None:
    put(content, path, 1)
    [fault] = faults(content, tmp_path)
    if meant:
        assert fault == f"{path}: unknown key (did you mean {meant!r}?)"
    else:
        assert fault.startswith(f"{path}: unknown key; the known ones are proxy_location, ")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("http_options", "local"),
        ("http_options.port", "high"),
        ("proxy_location", "Nowhere"),
        ("applications", "one"),
        ("applications", None),
        (f"{APP}.name", 3),
        (f"{APP}.import_path", "nothing"),
        (f"{APP}.args.detecter", {}),
        (f"{APP}.args.detector.threds", 1),
        (f"{APP}.args.detector.threads", 0),
        (f"{APP}.args.recognizers", {}),
        (f"{APP}.args.recognizers.arcface.model", "nobody"),
        (f"{APP}.args.request_limits.timeout_s", -1),
        (f"{APP}.deployments", {"name": "Detector"}),
        (f"{DETECTORS}.max_ongoing_requests", 0),
        (f"{DETECTORS}.graceful_shutdown_timeout_s", -1),
        (f"{DETECTORS}.autoscaling_config.min_replicas", -1),
        (f"{DETECTORS}.ray_actor_options.num_cpus", -1),
        (f"{DETECTORS}.user_config.max_batch_size", 0),
        (f"{DETECTORS}.user_config.max_batch", 4),
        (f"{APP}.deployments[{RECOGNIZER}].user_config.max_batch_size", 1025),
        (f"{VARIABLES}.FACEGRAPH_HAPROXY_HEAD_TIMEOUT_S", "0"),
        (f"{VARIABLES}.FACEGRAPH_HAPROXY_HEAD_TIMEOUT", "5"),
    ],
)
def test_a_wrong_value_is_named_by_its_path(
    content: dict[str, Any], tmp_path: Path, path: str, value: object
) -> None:
    put(content, path, value)
    found = faults(content, tmp_path)
    assert [fault for fault in found if fault.startswith(f"{path}: ")], found


def test_the_wrong_value_is_shown(content: dict[str, Any], tmp_path: Path) -> None:
    put(content, f"{APP}.args.detector.threads", "a" * 100)
    [fault] = faults(content, tmp_path)
    assert fault.endswith(f", got '{'a' * 56}...")


@pytest.mark.parametrize("key", ["open sesame", 12345])
def test_an_api_key_in_its_digests_place_is_not_shown(
    content: dict[str, Any], tmp_path: Path, key: object
) -> None:
    put(content, f"{APP}.args.access", {"keys": {"phone": key}})
    [fault] = faults(content, tmp_path)
    assert "access.keys.phone" in fault
    assert str(key) not in fault


@pytest.mark.parametrize(
    "access",
    [{"anonymous": True}, {"anonymous": False}, {"keys_file": "/secrets/keys.yaml"}],
    ids=str,
)
def test_a_graph_that_others_can_reach_says_who_may_call(
    content: dict[str, Any], tmp_path: Path, access: dict[str, Any]
) -> None:
    put(content, "http_options.host", "0.0.0.0")
    [fault] = faults(content, tmp_path)
    assert fault.startswith(f"{APP}.args.access: HTTP is served at 0.0.0.0 and there is no API key")
    put(content, f"{APP}.args.access", access)
    file = tmp_path / "decided.yaml"
    file.write_text(yaml.safe_dump(content))
    assert read_serve_file(file) == content


def test_a_file_without_a_host_is_served_to_all(content: dict[str, Any], tmp_path: Path) -> None:
    del content["http_options"]["host"]  # Serve then takes 0.0.0.0
    [fault] = faults(content, tmp_path)
    assert "there is no API key" in fault


def test_limits_that_contradict_each_other_are_named(
    content: dict[str, Any], tmp_path: Path
) -> None:
    put(content, f"{DETECTORS}.autoscaling_config.min_replicas", 5)
    [fault] = faults(content, tmp_path)
    assert fault.startswith(f"{DETECTORS}.autoscaling_config: max_replicas (2)")


def test_a_deployment_that_the_graph_does_not_have_is_named(
    content: dict[str, Any], tmp_path: Path
) -> None:
    put(content, f"{DETECTORS}.name", "Detektor")
    assert faults(content, tmp_path) == [
        f"{DETECTORS}.name: no deployment 'Detektor' (did you mean 'Detector'?); the graph has"
        " Ingress, Detector, Aligner, Recognizer:arcface, Aggregator"
    ]


def test_a_pool_makes_a_deployment_and_without_it_there_is_none(
    content: dict[str, Any], tmp_path: Path
) -> None:
    put(content, f"{APP}.args.recognizers", {"masks": {}})
    place = f"{APP}.deployments[{RECOGNIZER}].name"
    [fault] = faults(content, tmp_path)
    assert fault.startswith(f"{place}: no deployment 'Recognizer:arcface'")
    put(content, place, "Recognizer:masks")
    path = tmp_path / "fixed.yaml"
    path.write_text(yaml.safe_dump(content))
    assert "Recognizer:masks" in deployment_names(graph_config(read_serve_file(path)))


def test_a_stage_without_settings_takes_no_user_config(
    content: dict[str, Any], tmp_path: Path
) -> None:
    place = f"{APP}.deployments[{ALIGNER}].user_config"
    put(content, place, {"max_batch_size": 4})
    assert faults(content, tmp_path) == [f"{place}: Aligner takes none"]


def test_every_fault_is_listed(content: dict[str, Any], tmp_path: Path) -> None:
    for path in ("http_options.prot", f"{APP}.args.detector.threads", f"{APP}.args.aligner"):
        put(content, path, 0)
    starts = sorted(fault.partition(": ")[0] for fault in faults(content, tmp_path))
    assert starts == [f"{APP}.args.aligner", f"{APP}.args.detector.threads", "http_options.prot"]


def test_a_policy_that_cannot_be_imported_is_a_fault(
    content: dict[str, Any], tmp_path: Path
) -> None:
    policy = {"policy_function": "no_such_module:policy"}
    put(content, f"{DETECTORS}.autoscaling_config.policy", policy)
    assert any("no_such_module" in fault for fault in faults(content, tmp_path))


def test_arguments_that_the_policy_would_refuse_are_named(
    content: dict[str, Any], tmp_path: Path
) -> None:
    policy = {"policy_function": "graph.autoscaling:LittlesLaw"}
    put(content, f"{APP}.autoscaling_policy", policy | {"policy_kwargs": {"utilisation": 0.6}})
    path = tmp_path / "right.yaml"
    path.write_text(yaml.safe_dump(content))
    assert read_serve_file(path) == content
    for kwargs, place in (({"utilisation": 2}, "utilisation"), ({"target": 1}, "target")):
        put(content, f"{APP}.autoscaling_policy", policy | {"policy_kwargs": kwargs})
        [fault] = faults(content, tmp_path)
        assert fault.startswith(f"{APP}.autoscaling_policy.policy_kwargs.{place}: ")


def test_the_policy_for_all_stages_needs_an_ingress_that_reports(
    content: dict[str, Any], tmp_path: Path
) -> None:
    put(content, f"{APP}.autoscaling_policy", {"policy_function": "graph.autoscaling:LittlesLaw"})
    del content["applications"][0]["deployments"][0]["autoscaling_config"]
    [fault] = faults(content, tmp_path)
    assert fault.startswith(f"{APP}.deployments: Ingress needs an autoscaling_config")


def test_a_policy_that_counts_calls_is_a_fault_where_requests_share_them(
    content: dict[str, Any], tmp_path: Path
) -> None:
    del content["applications"][0]["autoscaling_policy"]
    where = f"{APP}.deployments[{{}}].autoscaling_config: Serve's policy counts calls"
    detectors, arcface = faults(content, tmp_path)
    assert detectors.startswith(where.format(1))
    assert arcface.startswith(where.format(3))
    put(content, f"{DETECTORS}.num_replicas", "auto")
    del content["applications"][0]["deployments"][DETECTOR]["autoscaling_config"]
    assert faults(content, tmp_path) == [detectors, arcface]
    put(content, f"{APP}.args.calls.max_requests_per_call", 1)
    path = tmp_path / "right.yaml"
    path.write_text(yaml.safe_dump(content))
    assert read_serve_file(path) == content


@pytest.mark.parametrize("deployments", [["Detector"], [None], [{}]])
def test_a_deployment_that_is_no_mapping_with_a_name_is_a_fault(
    content: dict[str, Any], tmp_path: Path, deployments: list[object]
) -> None:
    put(content, f"{APP}.deployments", deployments)
    assert faults(content, tmp_path)


@pytest.mark.parametrize(
    "text",
    ["", "- applications", "42", "applications: [", "a:\n\t- 1", "x: !!python/name:os.system"],
    ids=["empty", "list", "number", "open", "tab", "code"],
)
def test_a_file_that_is_no_mapping_or_no_yaml_is_refused(tmp_path: Path, text: str) -> None:
    assert faults(text, tmp_path)


def test_a_file_that_is_missing_a_folder_or_no_text_is_refused_by_name(tmp_path: Path) -> None:
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "missing.yaml", tmp_path, binary):
        with pytest.raises(InvalidConfig, match=path.name):
            read_serve_file(path)


def test_other_applications_are_left_to_serve(content: dict[str, Any], tmp_path: Path) -> None:
    other = {
        "name": "other",
        "route_prefix": "/other",
        "import_path": "other:app",
        "args": {"x": 1},
    }
    content["applications"].insert(0, other)
    path = tmp_path / "two.yaml"
    path.write_text(yaml.safe_dump(content))
    assert graph_config(read_serve_file(path)).detector.model == "retinaface-mnet025"


def test_a_file_without_the_graph_has_no_graph_configuration() -> None:
    with pytest.raises(InvalidConfig, match=r"none has import_path graph\.app:build_app"):
        graph_config({"applications": [{"import_path": "other:app"}]})


def test_a_file_without_the_graph_is_a_fault(content: dict[str, Any], tmp_path: Path) -> None:
    content["applications"][0] |= {"import_path": "graph.app:build", "deployments": [], "args": {}}
    assert faults(content, tmp_path) == ["applications: none has import_path graph.app:build_app"]


def test_a_deployment_that_is_listed_twice_is_a_fault(
    content: dict[str, Any], tmp_path: Path
) -> None:
    deployments = content["applications"][0]["deployments"]
    deployments.append(dict(deployments[ALIGNER]))
    last = len(deployments) - 1
    assert faults(content, tmp_path) == [
        f"{APP}.deployments[{last}].name: Aligner is listed before"
    ]


def test_a_batch_that_cannot_fill_is_a_fault(content: dict[str, Any], tmp_path: Path) -> None:
    put(content, f"{DETECTORS}.autoscaling_config", None)
    put(content, f"{DETECTORS}.max_ongoing_requests", 3)
    assert faults(content, tmp_path) == [
        f"{DETECTORS}.user_config.max_batch_size: 4 photos never come together where"
        " max_ongoing_requests is 3"
    ]


@pytest.mark.parametrize(
    "place",
    [
        "controller_options.runtime_env",
        f"{APP}.runtime_env",
        f"{DETECTORS}.ray_actor_options.runtime_env",
    ],
)
def test_a_runtime_environment_is_checked_wherever_it_stands(
    content: dict[str, Any], tmp_path: Path, place: str
) -> None:
    put(content, place, {"env_var": {"A": "1"}})
    unknown = f"{place}.env_var: unknown key (did you mean 'env_vars'?)"
    assert any(fault.startswith(unknown) for fault in faults(content, tmp_path))
    put(content, place, {"env_vars": {"A": 1}})
    wrong = f"{place}: runtime_env['env_vars'] must be of type Dict[str, str]"
    assert any(fault.startswith(wrong) for fault in faults(content, tmp_path))
