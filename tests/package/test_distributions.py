"""The wheel and the source distribution, built from the checkout's files: contents, and use."""

import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable
from email.message import Message
from email.parser import Parser
from pathlib import Path
from shutil import copyfile
from sysconfig import get_path

import pytest

from tests.support.installed import Installed, try_alone, try_server
from tests.support.profiles import ROOT, VERSION
from tests.support.system_calls import Trace, trace_of

BUILD = """
import sys
from setuptools import build_meta
print(getattr(build_meta, f"build_{sys.argv[1]}")(sys.argv[2]))
"""


def copy(names: Iterable[str], into: Path) -> Path:
    """Copy files of the checkout, symbolic links as such."""
    for name in names:
        (into / name).parent.mkdir(parents=True, exist_ok=True)
        copyfile(ROOT / name, into / name, follow_symlinks=False)
    return into


def build(kind: str, source: Path, into: Path) -> Path:
    """Build a wheel or an sdist of the source tree, without a network."""
    command = [sys.executable, "-c", BUILD, kind, str(into)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return into / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def tracked() -> set[str]:
    """The files of the checkout that git knows, new ones included."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return {name for name in listed.splitlines() if (ROOT / name).exists()}


@pytest.fixture(scope="module")
def sdist(tracked: set[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = copy(tracked, tmp_path_factory.mktemp("source"))
    return build("sdist", source, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the source distribution, as `python -m build` does."""
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (source,) = folder.iterdir()
    return build("wheel", source, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        return Parser().parsestr(archive.read(name).decode())


def test_the_wheel_has_the_three_packages_their_data_and_nothing_else(
    wheel: Path, tracked: set[str]
) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        shipped = archive.read("configs/serve_config.yaml")
    packaged = {name for name in names if ".dist-info/" not in name}
    expected = {name for name in tracked if re.match(r"(graph|deployments|configs)/", name)}
    assert packaged == expected
    assert shipped == (ROOT / "serve_config.yaml").read_bytes()
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_the_images_build_makes_the_same_wheel(
    wheel: Path, tracked: set[str], tmp_path: Path
) -> None:
    """From the files that the Dockerfile's first stage copies."""
    first_stage = (ROOT / "Dockerfile").read_text().split("\nFROM ")[1]
    copied = [
        name for line in re.findall("^COPY (.+) ", first_stage, re.M) for name in line.split()
    ]
    names = (name for name in tracked if name.split("/")[0] in copied)
    source = copy(names, tmp_path / "source")
    built = build("wheel", source, tmp_path)
    with zipfile.ZipFile(built) as image, zipfile.ZipFile(wheel) as released:
        assert set(image.namelist()) == set(released.namelist())


def test_the_source_distribution_is_the_checkout_without_the_settings_of_other_tools(
    sdist: Path, tracked: set[str]
) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames() if "/" in name}
        files = {member.name.partition("/")[2] for member in archive if not member.isdir()}
    made = {name for name in files if name.startswith("facegraph.egg-info/")}
    assert files - made - {"PKG-INFO", "setup.cfg"} == {
        name for name in tracked if re.match(r"\.ci/|[^.]", name)
    }
    assert "tests/conftest.py" in names


def test_the_index_page_has_what_a_reader_looks_for(metadata: Message) -> None:
    assert metadata["Name"] == "facegraph"
    assert metadata["Version"] == VERSION
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.10"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert "# FaceGraph" in str(metadata.get_payload())
    extras = set(metadata.get_all("Provides-Extra", []))
    assert {"modelscope", "tracing", "evaluation", "embed", "all"} <= extras


@pytest.fixture(scope="module")
def server(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Trace:
    """The system calls of a server of the installed wheel, which works without a checkout.

    The dependencies are those of the tests' own environment, whose FaceGraph is not visible.
    `make release-check` installs them.
    """
    folder = tmp_path_factory.mktemp("installed")
    venv, home = folder / "venv", folder / "home"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(venv / "bin" / "python"), "--quiet"]
    # Without the environment's variables: PYTHONPATH may name a checkout.
    subprocess.run([*pip, "install", "--no-deps", "--no-index", wheel], check=True, env={})
    (packages,) = venv.glob("lib/python*/site-packages")
    # A folder that a .pth file adds is not searched for .pth files, such as the checkout's.
    (packages / "dependencies.pth").write_text(get_path("purelib") + "\n")
    home.mkdir()
    installed, log = Installed(venv, home), folder / "strace.log"
    try_server(installed, log)
    try_alone(installed)
    return trace_of(log, folder=home, code=0, output="")


def test_the_installed_wheel_works_and_contacts_no_other_machine(server: Trace) -> None:
    contacts = server.contacts()
    assert not contacts, "\n".join(contacts)


def test_the_server_writes_only_in_the_documented_folders(server: Trace) -> None:
    """docs/biometric-data.md has them; Python's own cache of modules is the environment's."""
    cache = server.folder / ".cache" / "facegraph"
    assert cache / "openvino" in server.written()
    elsewhere = server.written_elsewhere(cache, server.folder / ".ray" / "auth_token")
    assert not elsewhere, "\n".join(elsewhere)
