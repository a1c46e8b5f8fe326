"""The command that installs an optional part of FaceGraph."""

import json
import shutil
import sys
from importlib.metadata import distributions
from pathlib import Path
from shlex import quote
from urllib.parse import urlsplit
from urllib.request import url2pathname


def install_command(extra: str) -> str:
    """The shell command that adds an extra of pyproject.toml to this Python's environment.

    It installs from where FaceGraph itself came: a checkout, a file or a package index.
    """
    origin, is_editable = _origin()
    option = "-e " if is_editable else ""
    return f"{_pip()} install {option}{quote(f'{origin}[{extra}]')}"


def _origin() -> tuple[str, bool]:
    """The path or name that pip installed, and True for an editable install (PEP 610)."""
    # A checkout may contain an egg-info, which has no METADATA and does not record the origin.
    found = (one for one in distributions(name="facegraph") if one.read_text("METADATA"))
    installed = next(found, None)
    if installed is None:  # the checkout is on the Python path
        return str(Path(__file__).parents[1]), True
    recorded = json.loads(installed.read_text("direct_url.json") or "{}")
    url = urlsplit(recorded.get("url", ""))
    if url.scheme != "file":
        return "facegraph", False
    return url2pathname(url.path), bool(recorded.get("dir_info", {}).get("editable"))


def _pip() -> str:
    """This environment's pip, by its short name if the shell finds it under that."""
    found = shutil.which("pip")
    is_own = found is not None and Path(found).parent == Path(sys.executable).parent
    return "pip" if is_own else f"{quote(sys.executable)} -m pip"
