"""The repository's root and version, and the Serve files that it ships."""

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
(VERSION,) = re.findall(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
PROFILES = [
    ROOT / "serve_config.yaml",
    *sorted(ROOT.glob("configs/profiles/*.yaml")),
]


def with_galleries(content: dict[str, Any], **gallery: Any) -> dict[str, Any]:
    """A Serve file's content with galleries switched on in its first application. gallery: further
    fields of its configuration."""
    first, *others = content["applications"]
    args = first["args"] | {"gallery": {"enabled": True, **gallery}}
    stage = {"name": "Gallery", "ray_actor_options": {"num_cpus": 0.1}}
    enabled = first | {"args": args, "deployments": [*first["deployments"], stage]}
    return content | {"applications": [enabled, *others]}
