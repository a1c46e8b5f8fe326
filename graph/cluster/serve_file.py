"""Check of a Serve config file, before Serve reads it.

Serve 2.60 ignores unknown keys and Ray those of a `runtime_env`. Here they are faults that name the
key. Values that FaceGraph's configuration refuses and deployments that the graph does not have are
faults too.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError
from ray.runtime_env import RuntimeEnv
from ray.serve.schema import ServeDeploySchema

from configs.base import UNKNOWN_KEY, Config
from configs.graph import GraphConfig
from configs.haproxy import PREFIX, SERVE_PREFIX, front_settings, haproxy_settings
from configs.model import BatchingConfig
from configs.scaling import LittlesLawConfig
from configs.spelling import did_you_mean, unknown_key
from deployments.errors import InvalidConfig
from graph.autoscaling import INGRESS, POLICY
from graph.http.access import require_decision
from graph.serve_private import DEFAULT_MAX_ONGOING_REQUESTS

IMPORT_PATH = "graph.app:build_app"
_BATCHED = ("Detector", "Recognizer:", "Classifier:")


def read_serve_file(path: Path) -> dict[str, Any]:
    """Read a Serve config file and check it; raises InvalidConfig naming each fault."""
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise InvalidConfig(f"{path}: {error.strerror}") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidConfig(f"{path}: {error}") from error
    if not isinstance(content, dict):
        raise InvalidConfig(f"{path}: expected a mapping with `applications`")
    faults = list(_faults(content))
    if faults:
        raise InvalidConfig("\n".join(f"{path}: {fault}" for fault in faults))
    return content


def graph_application(content: dict[str, Any]) -> dict[str, Any]:
    """The first FaceGraph application of the file; raises InvalidConfig if there is none."""
    for application in content["applications"]:
        if application.get("import_path") == IMPORT_PATH:
            found: dict[str, Any] = application
            return found
    raise InvalidConfig(f"applications: none has import_path {IMPORT_PATH}")


def application_name(content: dict[str, Any]) -> str:
    """The name of the file's first FaceGraph application."""
    return str(graph_application(content).get("name", "default"))


def graph_config(content: dict[str, Any]) -> GraphConfig:
    """The configuration of the file's first FaceGraph application."""
    return GraphConfig.model_validate(graph_application(content).get("args", {}))


def graph_configs(content: dict[str, Any]) -> list[GraphConfig]:
    """The configurations of the file's FaceGraph applications."""
    return [
        GraphConfig.model_validate(application.get("args", {}))
        for application in _graphs(content).values()
    ]


def deployment_names(config: GraphConfig) -> list[str]:
    """Every deployment of the graph, in the order in which a request reaches them."""
    pools = [f"Recognizer:{name}" for name in config.recognizers]
    pools += [f"Classifier:{name}" for name in config.classifiers]
    galleries = ["Gallery"] if config.gallery.enabled else []
    return ["Ingress", "Detector", "Aligner", *pools, "Aggregator", *galleries]


def _faults(content: dict[str, Any]) -> Iterator[str]:
    schema_faults = list(_schema_faults(content, ServeDeploySchema, ""))
    schema_faults = schema_faults or list(_invalid(content, ServeDeploySchema, ""))
    yield from schema_faults
    yield from _environment_faults(content)
    graphs = _graphs(content)
    if not graphs and not schema_faults:
        yield f"applications: none has import_path {IMPORT_PATH}"
    for where, application in graphs.items():
        faults = list(_application_faults(application, where))
        yield from faults
        if not schema_faults and not faults:
            yield from _access_faults(content, application, where)


def _graphs(content: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The FaceGraph applications of the file, by their paths in it."""
    applications = content.get("applications")
    return {
        f"applications[{index}]": application
        for index, application in enumerate(applications if isinstance(applications, list) else ())
        if isinstance(application, dict) and application.get("import_path") == IMPORT_PATH
    }


def _application_faults(application: dict[str, Any], where: str) -> Iterator[str]:
    args = application.get("args", {})
    faults = list(_invalid(args, GraphConfig, f"{where}.args"))
    yield from faults
    if faults:
        return
    config = GraphConfig.model_validate(args)
    yield from _policy_faults(application, config, where)
    known = deployment_names(config)
    seen: set[str] = set()
    for index, deployment in enumerate(application.get("deployments") or ()):
        if not isinstance(deployment, dict):
            continue
        place, name = f"{where}.deployments[{index}]", str(deployment.get("name"))
        yield from _deployment_faults(deployment, known, place)
        if name in seen:
            yield f"{place}.name: {name} is listed before"
        seen.add(name)


def _access_faults(
    content: dict[str, Any], application: dict[str, Any], where: str
) -> Iterator[str]:
    """The fault that anonymous clients are neither refused nor allowed.

    The file of keys need not be on this machine: the ingress checks again when it has read it.
    """
    access = GraphConfig.model_validate(application.get("args", {})).access
    http = ServeDeploySchema.model_validate(content).http_options
    has_keys = bool(access.keys or access.keys_file) or access.anonymous is False
    try:
        require_decision(access, http.host, has_keys=has_keys)
    except InvalidConfig as error:
        yield f"{where}.args.{error.message}"


def _policy_faults(application: dict[str, Any], config: GraphConfig, where: str) -> Iterator[str]:
    """Faults of autoscaling, which Serve's controller finds when it runs the policy, or never."""
    policy = application.get("autoscaling_policy")
    if not policy and config.calls.max_requests_per_call > 1:
        yield from _call_counting_policies(application, where)
    if not isinstance(policy, dict) or policy.get("policy_function") != POLICY:
        return
    kwargs = policy.get("policy_kwargs") or {}
    yield from _invalid(kwargs, LittlesLawConfig, f"{where}.autoscaling_policy.policy_kwargs")
    deployments = [item for item in application.get("deployments") or () if isinstance(item, dict)]
    scaled = [item.get("name") for item in deployments if item.get("autoscaling_config")]
    if INGRESS not in scaled:
        yield (
            f"{where}.deployments: {INGRESS} needs an autoscaling_config, if only with as many"
            " max_replicas as min_replicas: without one it does not report what arrives"
        )


def _call_counting_policies(application: dict[str, Any], where: str) -> Iterator[str]:
    """Faults of Serve's own policy, which counts calls although several requests share each."""
    for index, deployment in enumerate(application.get("deployments") or ()):
        if not isinstance(deployment, dict):
            continue
        scaling = deployment.get("autoscaling_config") or {}
        grows = scaling or deployment.get("num_replicas") == "auto"
        if grows and "policy" not in scaling and str(deployment.get("name")).startswith(_BATCHED):
            yield (
                f"{where}.deployments[{index}].autoscaling_config: Serve's policy counts calls, and"
                " requests share them (args.calls.max_requests_per_call): set autoscaling_policy,"
                f" for example {POLICY}, or num_replicas"
            )


def _deployment_faults(deployment: dict[str, Any], known: list[str], where: str) -> Iterator[str]:
    name = str(deployment.get("name"))
    if name not in known:
        close = did_you_mean(name, known)
        yield f"{where}.name: no deployment {name!r}{close}; the graph has {', '.join(known)}"
        return
    user_config = deployment.get("user_config")
    if user_config is not None and name.startswith(_BATCHED):
        faults = list(_invalid(user_config, BatchingConfig, f"{where}.user_config"))
        yield from faults
        yield from () if faults else _batch_too_large(deployment, where)
    elif user_config is not None:
        yield f"{where}.user_config: {name} takes none"


def _batch_too_large(deployment: dict[str, Any], where: str) -> Iterator[str]:
    size = BatchingConfig.model_validate(deployment["user_config"]).max_batch_size
    requests = deployment.get("max_ongoing_requests", DEFAULT_MAX_ONGOING_REQUESTS)
    if size and isinstance(requests, int) and size > requests:
        yield (
            f"{where}.user_config.max_batch_size: {size} photos never come together where"
            f" max_ongoing_requests is {requests}"
        )


def _schema_faults(value: Any, model: type[BaseModel], where: str) -> Iterator[str]:
    """Faults of keys that the model, or a model inside it, does not declare, and of the values of
    models inside it: Serve types some as plain mappings, so that its own faults have no path."""
    if not isinstance(value, dict):
        return
    aliases = {field.alias for field in model.model_fields.values() if field.alias}
    for key, item in value.items():
        path = f"{where}.{key}" if where else str(key)
        field = model.model_fields.get(key)
        if field is None and key not in aliases:
            yield f"{path}: {unknown_key(str(key), model.model_fields)}"
        for inner in _models_in(field.annotation) if field else ():
            if isinstance(item, list):
                for index, element in enumerate(item):
                    yield from _schema_faults(element, inner, f"{path}[{index}]")
            elif isinstance(item, dict):
                yield from _schema_faults(item, inner, path)
                yield from _invalid(item, inner, path)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


def _invalid(value: Any, model: type[BaseModel], where: str) -> Iterator[str]:
    try:
        model.model_validate(value)
    except ValidationError as error:
        for fault in error.errors(include_url=False, include_context=False):
            problem = str(fault["msg"]).removeprefix("Value error, ")
            given = "" if fault["type"] == UNKNOWN_KEY else _given(fault["loc"], fault["input"])
            yield f"{_path(where, fault['loc'])}: {problem}{given}"
    except Exception as error:  # Serve imports the modules that the file names: anything may fail
        if issubclass(model, Config):
            raise
        yield f"{where or 'the file'}: {error}"


def _path(where: str, location: tuple[int | str, ...]) -> str:
    for part in location:
        where += f"[{part}]" if isinstance(part, int) else f".{part}" if where else str(part)
    return where


def _given(location: tuple[int | str, ...], value: Any) -> str:
    """The end of a fault: the given value, cut to 60 characters. Values of `access` are left out:
    one may be an API key."""
    if isinstance(value, (dict, list)) or "access" in location:
        return ""
    text = repr(value)
    return f", got {text}" if len(text) <= 60 else f", got {text[:57]}..."


def _environment_faults(value: Any, where: str = "") -> Iterator[str]:
    """Faults of every `runtime_env` at any depth, except inside the `args` of applications."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _environment_faults(item, f"{where}[{index}]")
    if not isinstance(value, dict):
        return
    for key, item in value.items():
        path = f"{where}.{key}" if where else str(key)
        if key == "runtime_env" and isinstance(item, dict):
            yield from _runtime_env_faults(item, path)
        elif key != "args":
            yield from _environment_faults(item, path)


def _runtime_env_faults(environment: dict[str, Any], where: str) -> Iterator[str]:
    known = {field for field in RuntimeEnv.known_fields if not field.startswith("_")}
    for key in environment:
        if key not in known:
            yield f"{where}.{key}: {unknown_key(key, sorted(known))}"
    try:
        RuntimeEnv(**{key: item for key, item in environment.items() if key in known})
    except (TypeError, ValueError) as error:
        yield f"{where}: {error}"
    yield from _haproxy_faults(environment.get("env_vars"), f"{where}.env_vars")


def _haproxy_faults(variables: Any, where: str) -> Iterator[str]:
    given = variables if isinstance(variables, dict) else {}
    yield from _setting_faults(haproxy_settings, given, f"{where}.{PREFIX}")
    yield from _setting_faults(front_settings, given, f"{where}.{SERVE_PREFIX}")


def _setting_faults(
    read: Callable[[dict[str, str]], Config], variables: dict[str, str], where: str
) -> Iterator[str]:
    try:
        read(variables)
    except ValidationError as error:
        for fault in error.errors(include_url=False):
            yield f"{where}{str(fault['loc'][0]).upper()}: {fault['msg']}"
