"""The Serve config files that the repository ships."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
PROFILES = [
    ROOT / "serve_config.yaml",
    *(file for file in sorted((ROOT / "configs").glob("*.yaml")) if "kuberay" not in file.name),
]
