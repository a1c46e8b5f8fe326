"""The environment variables that FaceGraph reads. No other module reads the environment."""

import os
from pathlib import Path

from configs.haproxy import PREFIX, SERVE_PREFIX

DEFAULT_MODELS_FOLDER = "~/.cache/facegraph/models"
DEFAULT_COMPILED_FOLDER = "~/.cache/facegraph/openvino"
DEFAULT_TRACES_FOLDER = "~/.cache/facegraph/traces"


def models_folder() -> Path:
    """`FACEGRAPH_MODELS`, or its default: the folder of weights, a sub-folder for each model id."""
    return Path(os.environ.get("FACEGRAPH_MODELS") or DEFAULT_MODELS_FOLDER).expanduser()


def api_keys() -> str | None:
    """`FACEGRAPH_API_KEYS`: the content of a keys file; on one line {NAME: SHA-256, ...}."""
    return os.environ.get("FACEGRAPH_API_KEYS")


def gallery_dsn() -> str | None:
    """`FACEGRAPH_GALLERY_DSN`: the galleries' database, where the configuration gives none."""
    return os.environ.get("FACEGRAPH_GALLERY_DSN") or None


def compiled_models_folder() -> Path:
    """`FACEGRAPH_OPENVINO_CACHE`, or its default: the export cache, a folder.

    It contains OpenVINO's compiled models, a file for each model and its settings, and ONNX files
    exported from checkpoints. Later replicas only read them.
    """
    return Path(os.environ.get("FACEGRAPH_OPENVINO_CACHE") or DEFAULT_COMPILED_FOLDER).expanduser()


def traces_folder() -> Path:
    """`FACEGRAPH_TRACES`, or its default: the folder of graph.tracing:json_lines."""
    return Path(os.environ.get("FACEGRAPH_TRACES") or DEFAULT_TRACES_FOLDER).expanduser()


def haproxy_variables() -> dict[str, str]:
    """The variables of this process that configs/haproxy.py reads."""
    prefixes = (PREFIX, SERVE_PREFIX)
    return {name: value for name, value in os.environ.items() if name.startswith(prefixes)}
