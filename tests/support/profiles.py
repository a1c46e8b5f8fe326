"""The repository's root, and the Serve files that it ships."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
PROFILES = [
    ROOT / "serve_config.yaml",
    *sorted(ROOT.glob("configs/profiles/*.yaml")),
]
