"""pyproject.toml has the version; the files that cannot read it there give the same one."""

import re
from pathlib import Path

import pytest

from tests.support.profiles import ROOT, VERSION

# An image's tag, a wheel's name, and the chart's versions.
NAMED = r"(?:\bfacegraph[:-]|\$IMAGE:)(\d+\.\d+\.\d+)|^(?:appV|v)ersion: (\S+)"
FILES = [
    ROOT / "Dockerfile",
    ROOT / "README.md",
    *sorted(ROOT.glob("docs/*.md")),
    *sorted(ROOT.glob("configs/**/*.yaml")),
]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_file_names_no_other_version(file: Path) -> None:
    found = re.finditer(NAMED, file.read_text(), re.MULTILINE)
    assert {match[match.lastindex or 0] for match in found} <= {VERSION}


def test_the_changelog_starts_with_the_version() -> None:
    sections = re.findall(r"^## \[(.+)\] - ", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert sections[0] == VERSION
