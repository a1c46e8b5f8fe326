"""The requirements of a Serve config file, checked against this machine."""

import logging
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from configs.classifier import ClassifierConfig
from configs.detector import DetectorConfig
from configs.graph import GraphConfig
from configs.recognizer import RecognizerConfig
from deployments.errors import FaceGraphError, ModelUnavailable
from deployments.weights.find import weights_folder
from graph.cluster.cpu import processor_features
from graph.cluster.preflight import netloc, path_fault, port_fault, readable_weights

State = Literal["ok", "note", "fault"]

_PACKAGES = ("facegraph", "ray", "onnxruntime", "openvino", "torch", "opencv-python", "numpy")
# CPU features that make the runtimes faster, as Linux spells them.
_CPU_FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "asimd")
LIBRARIES_HELP = "apt-get install libgl1 libglib2.0-0"
_GIB = 1024**3
# One replica of each stage of the default models, and Ray around them (benchmarks/footprint.py).
_NEEDED_BYTES = 2 * _GIB
_SERVE_DEFAULT_CPUS = 1.0

AnyModel = DetectorConfig | RecognizerConfig | ClassifierConfig


@dataclass(frozen=True)
class Finding:
    """A line of the doctor's report.

    state: a fault keeps the graph from starting, a note does not. found: the result, in words.
    help: the remedy.
    """

    subject: str
    state: State
    found: str
    help: str = ""


def machine_findings() -> Iterator[Finding]:
    """Check this machine's packages, memory, paths and system libraries; name its CPU features."""
    yield Finding("python", "ok", f"{platform.python_version()} on {platform.platform()}")
    for name in _PACKAGES:
        yield _package(name)
    yield Finding("cpu", "ok", f"{_cores()} cores, {' '.join(_cpu_features()) or 'unknown'}")
    yield _memory()
    yield _paths()
    yield _system_libraries()


def file_findings(content: dict[str, Any], config: GraphConfig) -> Iterator[Finding]:
    """Check a valid Serve config's port, HAProxy, and room for the initial replicas."""
    http = content.get("http_options") or {}
    yield _port(http.get("host", "127.0.0.1"), http.get("port", 8000))
    yield _haproxy(content)
    yield from _room(content, config)


def model_findings(config: GraphConfig, *, load: bool) -> Iterator[Finding]:
    """Find each model's weights; with `load`, also load them, to show the runtime's choice."""
    yield _model("detector", config.detector, load)
    for name, pool in config.recognizers.items():
        yield _model(f"recognizer {name}", pool, load)
    for name, judge in config.classifiers.items():
        yield _model(f"classifier {name}", judge, load)


def _package(name: str) -> Finding:
    try:
        return Finding(name, "ok", metadata.version(name))
    except metadata.PackageNotFoundError:
        return Finding(name, "note", "not installed", f"pip install {name}")


def _cores() -> int:
    """The number of cores that this process may use."""
    with suppress(AttributeError):  # Linux only
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu_features() -> list[str]:
    found = processor_features()
    return [feature for feature in _CPU_FEATURES if feature in found]


def _memory() -> Finding:
    free = _available_bytes()
    if free is None:
        return Finding("memory", "note", "unknown")
    found = f"{free / _GIB:.1f} GiB available"
    if free < _NEEDED_BYTES:
        needed = f"the default models and Ray take some {_NEEDED_BYTES / _GIB:.0f} GiB"
        return Finding("memory", "note", found, needed)
    return Finding("memory", "ok", found)


def _available_bytes() -> int | None:
    with suppress(OSError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None


def _system_libraries() -> Finding:
    try:
        import cv2
    except ImportError as error:
        return Finding("libraries", "fault", str(error), LIBRARIES_HELP)
    return Finding("libraries", "ok", f"OpenCV {cv2.__version__} loads")


def _paths() -> Finding:
    fault = path_fault()
    return Finding("path", "fault" if fault else "ok", fault or sys.prefix)


def _port(host: str, port: int) -> Finding:
    fault = port_fault(host, port)
    if fault:
        return Finding("port", "fault", fault, "facegraph serve --port takes another")
    return Finding("port", "ok", f"{netloc(host, port)} is free")


def _haproxy(content: dict[str, Any]) -> Finding:
    from graph.serve_private import haproxy_binary

    options = content.get("controller_options") or {}
    variables = (options.get("runtime_env") or {}).get("env_vars") or {}
    if variables.get("RAY_SERVE_ENABLE_HA_PROXY") != "1":
        return Finding("haproxy", "ok", "not asked for: Serve's own proxy takes requests")
    logging.getLogger("ray.serve").setLevel(logging.WARNING)  # Serve logs the path too
    try:
        return Finding("haproxy", "ok", haproxy_binary())
    except FileNotFoundError as error:
        without = "pip install 'ray[serve]', or take RAY_SERVE_ENABLE_HA_PROXY out of the file"
        return Finding("haproxy", "fault", str(error), without)


def _room(content: dict[str, Any], config: GraphConfig) -> Iterator[Finding]:
    from graph.cluster.serve_file import deployment_names, graph_application

    listed = {entry["name"]: entry for entry in graph_application(content).get("deployments") or ()}
    stages = [_needed_at_start(listed.get(name, {})) for name in deployment_names(config)]
    available = {"num_cpus": float(_cores())}
    if any(needed["num_gpus"] for needed in stages):
        available["num_gpus"] = float(_gpus())
    for name, most in available.items():
        total = sum(needed[name] for needed in stages)
        found = f"the initial replicas take {total:g} of {most:g}"
        fits = total <= most + 1e-6  # sums of fractions such as 0.1
        help_text = "" if fits else f"lower {name} in ray_actor_options, or add nodes"
        yield Finding(name, "ok" if fits else "fault", found, help_text)


def _needed_at_start(deployment: Mapping[str, Any]) -> dict[str, float]:
    """The resources of the replicas that a deployment starts with."""
    scaling = deployment.get("autoscaling_config") or {}
    count = scaling.get("initial_replicas") or scaling.get("min_replicas", 1)
    fixed = deployment.get("num_replicas")
    replicas = fixed if isinstance(fixed, int) else count
    options = deployment.get("ray_actor_options") or {}
    cpus, gpus = options.get("num_cpus", _SERVE_DEFAULT_CPUS), options.get("num_gpus", 0)
    return {"num_cpus": replicas * cpus, "num_gpus": replicas * gpus}


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()


def _model(subject: str, config: AnyModel, load: bool) -> Finding:
    model = config.entry
    try:
        weights = readable_weights(config)
        loaded = f", {_loaded(config)}" if load else ""
        return Finding(subject, "ok", f"{model.id}: {weights}{loaded}")
    except ModelUnavailable as error:
        found = f"{model.id}: no {error.details['file']}"
        place = config.weights or weights_folder(model)
        fetch = f"{model.fetch_command}  # or copy the files to {place}"
        if model.fetch_command is None:
            fetch = f"copy {model.weights_file} to {place}"
        if model.kind == "detector":
            return Finding(subject, "fault", found, fetch)
        return Finding(subject, "note", f"{found}; the graph starts without this pool", fetch)
    except FaceGraphError as error:
        return Finding(subject, "fault", f"{model.id}: {error.message}")
    except OSError as error:
        return Finding(subject, "fault", f"{model.id}: {error.filename}: {error.strerror}")


def _loaded(config: AnyModel) -> str:
    """Load the model as a replica does, raising the same errors; describe its choice in words."""
    # Imported here: they load the runtimes.
    from deployments.classifier.classifier import classifier_from
    from deployments.detector.detector import detector_from
    from deployments.recognizer.recognizer import recognizer_from

    if isinstance(config, DetectorConfig):
        choice = detector_from(config).backend.choice
    elif isinstance(config, ClassifierConfig):
        choice = classifier_from(config).backend.choice
    else:
        choice = recognizer_from(config, name="doctor").backend.choice
    mode = f", {choice.torch_mode}" if choice.torch_mode else ""
    return f"in {choice.runtime} on {choice.device}, {choice.precision}{mode} ({choice.reason})"
