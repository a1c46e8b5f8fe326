"""`facegraph compare` and `detect` on the running graph."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from graph.cluster.launch import RunningGraph
from graph.cluster.preflight import free_port
from tests.conftest import API_KEY
from tests.support.photos import GDP, PLAYERS, YAOMING, photo, photo_path
from tests.support.terminal import facegraph

MAN, GROUP, TEAM = photo_path(YAOMING), photo_path(GDP), photo_path(PLAYERS)


@pytest.fixture(scope="module")
def nobody(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photos") / "nobody.png"
    cv2.imwrite(str(path), np.full((100, 100, 3), 90, np.uint8))
    return path


def test_compare_exits_0_for_a_match_and_1_for_none(running: RunningGraph) -> None:
    same = facegraph("compare", MAN, TEAM, "--faces", "all", "--url", running.url)
    assert same.code == 0
    assert same.out.startswith("match: similarity 0.6")
    assert "720 139 763 192" in same.out or "719 139 763 192" in same.out
    other = facegraph("compare", MAN, GROUP, "--url", running.url)
    assert (other.code, other.out.partition(":")[0]) == (1, "mismatch")
    lax = facegraph("compare", MAN, GROUP, "--threshold", "-1", "--url", running.url)
    assert lax.code == 0


def test_compare_tells_which_of_a_groups_faces_was_taken(running: RunningGraph) -> None:
    fourth = facegraph(
        "compare", GROUP, MAN, "--source-face", "3", "--json", "--url", running.url
    ).json
    assert fourth["ambiguous"] == {}
    detected = facegraph("detect", GROUP, "--json", "--url", running.url).json
    assert fourth["source"]["box"] == pytest.approx(detected["faces"][3]["box"], abs=0.5)


@pytest.mark.parametrize("width", [80, 200])
def test_tables_fit_the_width_and_cut_no_number(running: RunningGraph, width: int) -> None:
    columns = str(width)
    found = facegraph("detect", TEAM, "--url", running.url, COLUMNS=columns).out.splitlines()
    columns_of_faces = ["face", "score", "box:", "x1", "y1", "x2", "y2", "roll", "quality"]
    assert found[1].split() == [*columns_of_faces, "faults"]
    faces = facegraph("detect", TEAM, "--json", "--url", running.url).json["faces"]
    assert [line.replace(",", "").split() for line in found[2:]] == [
        [
            str(index),
            f"{face['score']:.3f}",
            *(f"{value:.0f}" for value in (*face["box"], face["roll"])),
            f"{face['quality']:.2f}",
            *face["reasons"],
        ]
        for index, face in enumerate(faces)
    ]
    compared = facegraph(
        "compare", MAN, TEAM, "--faces", "all", "-r", "arcface,second", "--url", running.url,
        COLUMNS=columns,
    )  # fmt: skip
    decisions = [compared.out.count(f" {word} ") for word in ("mismatch", "uncertain")]
    assert min(decisions) > 0
    assert sum(decisions) >= len(faces) - 1
    assert max(map(len, [*found, *compared.out.splitlines()])) <= 80


def test_compare_prints_nothing_but_json_where_that_is_asked_for(running: RunningGraph) -> None:
    done = facegraph("compare", MAN, TEAM, "--json", "-r", "second", "-r", "arcface", "--url",
                     running.url)  # fmt: skip
    assert list(done.json["scores"]) == ["second", "arcface"]
    assert done.json["matched"] is (done.code == 0)
    assert done.err == ""


def test_compare_lists_every_recognizer(running: RunningGraph) -> None:
    done = facegraph("compare", MAN, MAN, "-r", "second", "-r", "arcface", "--url", running.url)
    assert "second" in done.out
    assert "arcface" in done.out


def test_a_failure_is_told_in_words_and_exits_2(running: RunningGraph, nobody: Path) -> None:
    done = facegraph("compare", MAN, nobody, "--url", running.url)
    assert (done.code, done.out, done.err.strip()) == (2, "", "target: no face found")
    unknown = facegraph("compare", MAN, MAN, "-r", "x", "--url", running.url, "--json")
    assert unknown.code == 2
    assert unknown.json["error"]["code"] == "unknown_recognizer"
    assert unknown.json["error"]["details"]["served"] == ["arcface", "second"]
    silent = facegraph("detect", MAN, "--url", f"http://127.0.0.1:{free_port()}")
    assert silent.code == 2
    assert "no server can be reached" in silent.err


def test_wrong_usage_exits_2() -> None:
    for arguments in (["compare", "a.jpg"], ["compare", "a.jpg", "b.jpg"], ["detect", "."]):
        assert facegraph(*arguments).code == 2
    assert facegraph("compare", MAN, MAN, "--threshold", "2").code == 2
    wrong = facegraph("detect", MAN, "--url", "nowhere")
    assert (wrong.code, "expected http(s)://host:port" in wrong.err) == (2, True)


def test_server_and_key_may_come_from_the_environment(running: RunningGraph) -> None:
    known = {"FACEGRAPH_URL": f"{running.url}/strict", "FACEGRAPH_API_KEY": API_KEY}
    late = facegraph("detect", MAN, **known)
    assert (late.code, late.err.strip()) == (2, "the answer was not ready in time")
    anonymous = facegraph("detect", MAN, FACEGRAPH_URL=f"{running.url}/strict")
    assert (anonymous.code, "an API key is required" in anonymous.err) == (2, True)


def test_detect_exits_0_where_there_are_faces_and_1_where_there_is_none(
    running: RunningGraph, nobody: Path
) -> None:
    found = facegraph("detect", GROUP, "--url", running.url)
    assert (found.code, found.out.splitlines()[0]) == (0, "6 faces")
    assert len(facegraph("detect", GROUP, "--json", "--url", running.url).json["faces"]) == 6
    empty = facegraph("detect", nobody, "--json", "--url", running.url)
    assert (empty.code, empty.json["faces"]) == (1, [])


def test_detect_draws_every_face_into_a_copy(running: RunningGraph, tmp_path: Path) -> None:
    picture = tmp_path / "faces.png"
    done = facegraph("detect", GROUP, "--draw", picture, "--json", "--url", running.url)
    drawn = cv2.imread(str(picture))
    assert drawn is not None
    original = photo(GDP)
    assert drawn.shape == original.shape
    changed = np.any(drawn != original, axis=2)
    for face in done.json["faces"]:
        x1, y1, x2, y2 = (round(value) for value in face["box"])
        assert changed[(y1 + y2) // 2, x1]
        assert changed[y1, (x1 + x2) // 2]
        for x, y in face["landmarks"]:
            assert changed[round(y), round(x)]
    assert changed.mean() < 0.05


def test_a_picture_of_an_unknown_kind_is_refused_before_any_work(tmp_path: Path) -> None:
    done = facegraph("detect", GROUP, "--draw", tmp_path / "faces.txt")
    assert done.code == 2
    assert ".png" in done.err
