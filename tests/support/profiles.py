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


def with_galleries(application: dict[str, Any], **gallery: Any) -> dict[str, Any]:
    """An application of a Serve file with galleries switched on. gallery: further fields of their
    configuration."""
    args = application["args"] | {"gallery": {"enabled": True, **gallery}}
    stage = {"name": "Gallery", "ray_actor_options": {"num_cpus": 0.1}}
    others = [one for one in application["deployments"] if one["name"] != stage["name"]]
    return application | {"args": args, "deployments": [*others, stage]}
