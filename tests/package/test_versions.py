"""pyproject.toml has the version; the files that cannot read it there give the same one."""

import re
from pathlib import Path

import pytest

from tests.support.profiles import ROOT, VERSION

NAMED = r"\bfacegraph:(\d[\w.]*?)-[cg]pu\b"
FILES = [
    ROOT / "Dockerfile",
    *sorted(ROOT.glob("docs/*.md")),
    *sorted(ROOT.glob("configs/**/*.yaml")),
]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_an_images_tag_is_the_version(file: Path) -> None:
    assert set(re.findall(NAMED, file.read_text())) <= {VERSION}


def test_the_changelog_starts_with_the_version() -> None:
    sections = re.findall(r"^## \[(.+)\] - ", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert sections[0] == VERSION
