"""The command that installs an extra, by the place that FaceGraph was installed from."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from configs.catalogue import CATALOGUE
from configs.extras import install_command


@pytest.mark.parametrize(
    ("direct_url", "expected"),
    [
        (None, "pip install 'facegraph[embed]'"),
        (
            {"url": "file:///home/ann/face%20graph", "dir_info": {"editable": True}},
            "pip install -e '/home/ann/face graph[embed]'",
        ),
        ({"url": "file:///src/facegraph", "dir_info": {}}, "pip install '/src/facegraph[embed]'"),
        (
            {"url": "file:///tmp/facegraph-0.1.0-py3-none-any.whl", "archive_info": {}},
            "pip install '/tmp/facegraph-0.1.0-py3-none-any.whl[embed]'",
        ),
        (
            {"url": "https://example.org/f.whl", "archive_info": {}},
            "pip install 'facegraph[embed]'",
        ),
    ],
    ids=["index", "editable", "folder", "wheel", "other"],
)
def test_an_extra_is_installed_from_where_facegraph_came(
    direct_url: object, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metadata = tmp_path / "facegraph-0.1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: facegraph\nVersion: 0.1.0\n")
    if direct_url:
        (metadata / "direct_url.json").write_text(json.dumps(direct_url))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    assert install_command("embed") == expected


def test_the_egg_info_in_the_folder_of_an_editable_install_does_not_hide_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    direct_url = json.dumps({"url": "file:///src/facegraph", "dir_info": {"editable": True}})
    for name, files in {
        "site/facegraph-0.1.0.dist-info": {
            "METADATA": "Name: facegraph",
            "direct_url.json": direct_url,
        },
        "src/facegraph.egg-info": {"PKG-INFO": ""},
    }.items():
        (tmp_path / name).mkdir(parents=True)
        for file, content in files.items():
            (tmp_path / name / file).write_text(content)
        monkeypatch.syspath_prepend((tmp_path / name).parent)
    assert install_command("embed").endswith("pip install -e '/src/facegraph[embed]'")


def test_a_pip_that_the_shell_does_not_find_is_given_by_its_python(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin")
    assert install_command("embed").startswith(f"{sys.executable} -m pip install ")


def test_weights_on_modelscope_take_its_client(monkeypatch: pytest.MonkeyPatch) -> None:
    assert CATALOGUE["rts"].fetch_command == "facegraph models pull rts"
    absent: Any = None
    monkeypatch.setitem(sys.modules, "modelscope_hub", absent)
    command = CATALOGUE["rts"].fetch_command
    assert command == f"{install_command('modelscope')} && facegraph models pull rts"
