"""The repository's root and version, and the Serve files that it ships."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
(VERSION,) = re.findall(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
PROFILES = [
    ROOT / "serve_config.yaml",
    *sorted(ROOT.glob("configs/profiles/*.yaml")),
]
