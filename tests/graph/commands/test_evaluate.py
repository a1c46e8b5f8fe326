"""`facegraph evaluate` against the running graph."""

import csv
import json
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
import yaml
from typer.testing import CliRunner, Result

from graph.cluster.launch import RunningGraph
from graph.cluster.serve_file import read_serve_file
from graph.commands.main import app
from tests.conftest import API_KEY
from tests.support.photos import GDP, PLAYERS, YAOMING, photo, photo_bytes
from tests.support.profiles import ROOT

MIRRORED, BLANK, BROKEN, NOWHERE = "mirrored.png", "blank.png", "broken.jpg", "nowhere.jpg"
MAN = (690, 110, 790, 225)  # the man of yaoming.jpg in players.jpg, with a margin
PAIRS = [
    (YAOMING, MIRRORED, 1),
    (YAOMING, "man.png", 1),
    (YAOMING, BLANK, 1),
    (YAOMING, GDP, 0),
    (YAOMING, PLAYERS, 0),
    (GDP, PLAYERS, 0),
    (GDP, MIRRORED, 0),
    (GDP, BROKEN, 0),
    (NOWHERE, GDP, 0),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of photos, with a list of pairs."""
    folder = tmp_path_factory.mktemp("photos")
    for name in (YAOMING, GDP, PLAYERS):
        (folder / name).write_bytes(photo_bytes(name))
    left, top, right, bottom = MAN
    cv2.imwrite(str(folder / "man.png"), photo(PLAYERS)[top:bottom, left:right])
    cv2.imwrite(str(folder / MIRRORED), photo(YAOMING)[:, ::-1])
    cv2.imwrite(str(folder / BLANK), np.full((90, 120, 3), 90, np.uint8))
    (folder / BROKEN).write_text("no photo")
    with (folder / "pairs.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("a", "b", "same"), *PAIRS])
    return folder


def evaluate(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)], env={"COLUMNS": "80"})


def figures(out: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((out / "figures.json").read_text())
    return content


@pytest.fixture(scope="module")
def out(folder: Path, running: RunningGraph, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report folder of one evaluation of both pools."""
    out = tmp_path_factory.mktemp("report")
    done = evaluate(
        "verification", folder / "pairs.csv", "--url", running.url, "--out", out, "--worst", "3",
        "--recognizers", "arcface,second", "--far", "0.2", "--bootstrap", "50", "--note", "<ours>",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "TAR at FAR" in done.output
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "  second:\n    threshold: 0." in done.output
    return out


def test_scores_are_the_cosines_of_the_served_embeddings(
    out: Path, folder: Path, http: httpx.Client
) -> None:
    def vector(name: str) -> "np.typing.NDArray[np.float64]":
        answer = http.post("/v1/embed", files={"image": (folder / name).read_bytes()}).json()
        return np.asarray(answer["faces"][0]["embeddings"]["arcface"]["embedding"])

    vectors = {name: vector(name) for name in (YAOMING, MIRRORED, "man.png", GDP, PLAYERS)}
    genuine = [float(vectors[a] @ vectors[b]) for a, b, same in PAIRS[:2] if same]
    found = figures(out)["recognizers"]["arcface"]
    # One of three genuine pairs failed to enrol: FRR is 1/3 below the other two scores.
    rates = dict(zip(found["errors"]["threshold"], found["errors"]["missed"], strict=True))
    below = max(threshold for threshold in rates if threshold < min(genuine))
    assert rates[below] == pytest.approx(1 / 3)
    assert rates[min(threshold for threshold in rates if threshold > max(genuine))] == 1


def test_photos_without_a_face_are_counted_and_listed(out: Path) -> None:
    content = figures(out)
    assert {item["photo"]: item["code"] for item in content["failures"]} == {
        BLANK: "face_not_found",
        BROKEN: "invalid_image",
        NOWHERE: "unreadable_file",
    }
    assert content["photos"] == 8
    for found in content["recognizers"].values():
        assert (found["genuine_pairs"], found["impostor_pairs"]) == (3, 6)
        assert (found["failed_genuine_pairs"], found["failed_impostor_pairs"]) == (1, 2)


def test_both_recognizers_separate_the_man_from_the_others(out: Path) -> None:
    for found in figures(out)["recognizers"].values():
        # Two of three genuine pairs outscore all six impostor pairs; the failed one ties with the
        # two failed impostor pairs: 2 x 6 + 2 / 2 of 18.
        assert found["auc"]["value"] == pytest.approx(13 / 18)
        assert found["suggestion"]["measurable"]
        assert found["suggestion"]["tar"] == pytest.approx(2 / 3)
        assert 0 < found["suggestion"]["threshold"] < 0.63


def test_the_page_shows_the_worst_pairs_and_the_plots_are_written(out: Path) -> None:
    page = (out / "report.html").read_text()
    assert page.count('class="pair"') == 2 * (2 + 3)  # two genuine pairs were compared
    assert page.count("data:image/jpeg;base64,") == 2 * page.count('class="pair"')
    assert "&lt;ours&gt;" in page
    names = {path.name for path in out.glob("*.png")}
    assert {"roc.png", "genuine-arcface.png", "impostor-second.png"} <= names


def test_a_profile_takes_up_the_threshold_and_is_still_valid(
    folder: Path, running: RunningGraph, tmp_path: Path
) -> None:
    arguments = ["verification", folder / "pairs.csv", "--url", running.url, "--json"]
    profile = ["--write-threshold", ROOT / "serve_config.yaml", "--out", tmp_path]
    done = evaluate(*arguments, *profile, "--far", "0.2", "--bootstrap", "0")
    assert done.exit_code == 0, done.output
    printed = json.loads(done.stdout)
    threshold = printed["recognizers"]["arcface"]["suggestion"]["threshold"]
    content = read_serve_file(tmp_path / "serve_config.yaml")
    assert content["applications"][0]["args"]["recognizers"]["arcface"]["threshold"] == threshold
    # Six impostor pairs cannot measure this FAR: no profile is written.
    done = evaluate(*arguments, *profile, "--far", "0.01", "--bootstrap", "0")
    assert done.exit_code == 2
    assert "at least 100 impostor pairs" in done.stderr


def test_errors_are_given_by_the_quality_of_the_served_faces(
    out: Path, folder: Path, running: RunningGraph, tmp_path: Path
) -> None:
    for found in figures(out)["recognizers"].values():
        by_quality = found["rejection_by_quality"]
        assert by_quality["threshold"] == found["threshold_in_force"]
        assert by_quality["rejected"][0] == 0
        # Four impostor pairs were compared, none is accepted: no limit is needed for a FAR of 0.2,
        # but the rule of three takes 15.
        suggestion = by_quality["suggestion"]
        assert (suggestion["min_quality"], suggestion["impostor_pairs"]) == (0, 4)
        assert not suggestion["measurable"]
    assert "rejection-quality.png" in {path.name for path in out.glob("*.png")}
    quality = ["--write-min-quality", ROOT / "serve_config.yaml"]
    arguments = ["verification", folder / "pairs.csv", "--url", running.url, "--out", tmp_path]
    done = evaluate(*arguments, *quality, "--far", "0.2", "--bootstrap", "0")
    assert done.exit_code == 2
    assert "at least 15 impostor pairs that it leaves, not 4" in done.stderr
    done = evaluate(*arguments, *quality, "--far", "0.75", "--bootstrap", "0")
    assert done.exit_code == 0, done.output
    content = read_serve_file(tmp_path / "serve_config.yaml")
    assert content["applications"][0]["args"]["recognizers"]["arcface"]["min_quality"] == 0
    both = evaluate(*arguments, *quality, "--write-threshold", ROOT / "serve_config.yaml")
    assert (both.exit_code, "give one" in both.stderr) == (2, True)


def test_every_recognizer_is_evaluated_if_all_are_asked_for(
    folder: Path, running: RunningGraph, tmp_path: Path
) -> None:
    done = evaluate(
        "verification", folder / "pairs.csv", "--url", running.url, "--all", "--out", tmp_path,
        "--failures", "exclude", "--bootstrap", "0",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    found = figures(tmp_path)["recognizers"]
    assert list(found) == ["arcface", "second"]
    assert found["second"]["auc"]["value"] == 1.0


def test_an_error_names_its_cause(folder: Path, running: RunningGraph, tmp_path: Path) -> None:
    pairs, url = folder / "pairs.csv", ["--url", running.url, "--out", tmp_path]
    for arguments, message in [
        ([pairs, *url, "--recognizers", "other"], "no recognizer 'other'; there are arcface"),
        ([folder / "none.csv", *url], "none.csv: No such file"),
        ([folder / BROKEN, *url], "expected CSV's header"),
        ([pairs, *url, "--far", "2"], "far: "),
        ([pairs, "--url", f"{running.url}/strict", "--out", tmp_path], "API key"),
    ]:
        done = evaluate("verification", *arguments)
        assert (done.exit_code, message in done.stderr) == (2, True), done.output


def test_templates_are_compared_by_the_mean_of_their_media(
    folder: Path, running: RunningGraph, tmp_path: Path
) -> None:
    rows = [(YAOMING, "1", "a"), (MIRRORED, "1", "a"), ("man.png", "2", "b"), (GDP, "3", "c"),
            (PLAYERS, "4", "d"), (BLANK, "5", "e"), (YAOMING, "6", "f")]  # fmt: skip
    lists = [tmp_path / "templates.txt", tmp_path / "pairs.txt"]
    lists[0].write_text("".join(f"{' '.join(row)}\n" for row in rows))
    lists[1].write_text("1 2 1\n1 6 1\n1 3 0\n2 4 0\n5 3 0\n")
    done = evaluate(
        "templates", *lists, "--root", folder, "--url", running.url, "--out", tmp_path / "out",
        "--bootstrap", "0", "--far", "0.4",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    content = figures(tmp_path / "out")
    assert (content["templates"], content["templates_without_a_face"]) == (6, ["5"])
    assert content["recognizers"]["arcface"]["auc"]["value"] == 1.0
    assert content["recognizers"]["arcface"]["failed_impostor_pairs"] == 1


def test_the_persons_of_a_folder_are_searched(running: RunningGraph, tmp_path: Path) -> None:
    """Two photos of each person, one of them mirrored: each is found among the others."""
    people = tmp_path / "people"
    for person, name in {"yao": YAOMING, "gdp": GDP, "player": PLAYERS}.items():
        (people / person).mkdir(parents=True)
        (people / person / name).write_bytes(photo_bytes(name))
        cv2.imwrite(str(people / person / MIRRORED), photo(name)[:, ::-1])
        cv2.imwrite(str(people / person / BLANK), np.full((90, 120, 3), 90, np.uint8))
    (people / "yao" / BROKEN).write_text("no photo")
    (people / "loose.jpg").write_bytes(photo_bytes(YAOMING))
    done = evaluate(
        "identification", people, "--sizes", "2,100", "--url", running.url, "--out",
        tmp_path / "out", "--fpir", "0.4", "--bootstrap", "20", "--failures", "exclude",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "2 persons can be enrolled: galleries of 100 are extrapolated" in done.stderr
    assert '"recognizer": "arcface", "threshold": 0.' in done.stdout
    content = figures(tmp_path / "out")
    assert (content["enrolled_persons"], content["non_enrolled_persons"]) == (2, 1)
    assert [item["code"] for item in content["failures"]] == ["face_not_found"] * 3
    assert content["passed_over"] == {
        "loose.jpg": "in no person's folder",
        f"yao/{BROKEN}": "no image that is read",
    }
    for gallery in content["recognizers"]["arcface"]["galleries"]:
        assert gallery["rank_rates"][0]["rate"]["value"] == 1
        assert gallery["suggestion"]["rates"]["fpir"]["value"] == 0
        assert gallery["suggestion"]["rates"]["fnir"]["value"] == 0


def test_a_folder_without_strangers_is_refused(running: RunningGraph, tmp_path: Path) -> None:
    (tmp_path / "people" / "yao").mkdir(parents=True)
    (tmp_path / "people" / "yao" / YAOMING).write_bytes(photo_bytes(YAOMING))
    url = ["--url", running.url, "--out", tmp_path / "out"]
    refused: list[tuple[list[object], str]] = [
        ([tmp_path / "people"], "two persons or more"),
        ([tmp_path / "nowhere"], "nowhere: no folder"),
        ([tmp_path / "people", "--size", "0"], "sizes: Input should be greater than 0"),
    ]
    for arguments, message in refused:
        done = evaluate("identification", *arguments, *url)
        assert (done.exit_code, message in done.stderr) == (2, True), done.output


def test_detection_finds_the_faces_that_the_detector_answers(
    running: RunningGraph, http: httpx.Client, tmp_path: Path
) -> None:
    """The ground truth is the detector's own boxes and one more face: recall 6/7, precision 1."""
    images = tmp_path / "images" / "0--Match"
    images.mkdir(parents=True)
    (images / GDP).write_bytes(photo_bytes(GDP))
    faces = http.post("/v1/detect", files={"image": photo_bytes(GDP)}).json()["faces"]
    boxes = [[x1, y1, x2 - x1, y2 - y1] for x1, y1, x2, y2 in (face["box"] for face in faces)]
    boxes.append([100, 500, 40, 50])
    lines = [" ".join(f"{value:.2f}" for value in [*box, 0, 0, 0, 0, 0, 0]) for box in boxes]
    truth = tmp_path / "truth.txt"
    head = [f"0--Match/{GDP}", str(len(boxes))]
    lost = ["0--Match/lost.jpg", "0", "0 0 0 0 0 0 0 0 0 0"]
    truth.write_text("\n".join([*head, *lines, *lost]) + "\n")
    out = tmp_path / "out"
    done = evaluate("detection", truth, tmp_path / "images", "--url", running.url, "--out", out)
    assert done.exit_code == 0, done.output
    content = figures(out)
    everything = content["settings"]["all (10 px on)"]
    assert everything["faces"] == 7
    assert everything["average_precision"] == pytest.approx(6 / 7)
    assert [item["code"] for item in content["failures"]] == ["unreadable_file"]
    assert not content["official_settings"]
    # The written boxes are the detected ones.
    again = evaluate(
        "detection", truth, tmp_path / "images", "--predictions", out / "predictions",
        "--out", tmp_path / "again",
    )  # fmt: skip
    assert again.exit_code == 0, again.output
    assert figures(tmp_path / "again")["settings"] == content["settings"]


def test_the_key_is_sent_to_a_server_that_requires_one(
    folder: Path, running: RunningGraph, tmp_path: Path
) -> None:
    """Inference requests of the strict application time out, but its model list needs the key."""
    done = evaluate(
        "verification", folder / "pairs.csv", "--url", f"{running.url}/strict",
        "--api-key", API_KEY, "--out", tmp_path, "--recognizers", "other",
    )  # fmt: skip
    assert "API key" not in done.stderr


def test_the_lines_for_a_profile_are_yaml(out: Path) -> None:
    page = (out / "report.html").read_text()
    lines = page.partition("<pre><code>")[2].partition("</code>")[0]
    thresholds = {
        name: found["suggestion"]["threshold"]
        for name, found in figures(out)["recognizers"].items()
    }
    assert yaml.safe_load(lines) == {
        "recognizers": {name: {"threshold": value} for name, value in thresholds.items()}
    }
