"""The report of identification, of made-up persons."""

import json
from pathlib import Path

import numpy as np
import pytest

from graph.evaluation.comparison import Pool
from graph.evaluation.enrolment import Enrolment, Failure
from graph.evaluation.identification import IdentificationOptions, split_persons
from graph.evaluation.identification_report import PersonDataset, identification_report
from graph.evaluation.report import Block, Code, Report, Table, html, write
from graph.gallery_schemas import GallerySettings
from graph.schemas import EmbeddedFace, FaceEmbedding
from tests.support.galleries import identities

PERSONS, PHOTOS = 120, 5
LOST = "p7/0"
OPTIONS = IdentificationOptions(sizes=(20, 60, 1000), fpir=0.05, bootstrap=20)
POOL = Pool("arcface", "arcface-mbf", 0.35)


def face(vector: "np.typing.NDArray[np.float32]") -> EmbeddedFace:
    embedding = FaceEmbedding(embedding=vector.tolist(), uncertainty=None)
    landmarks = [(0.0, 0.0)] * 5
    return EmbeddedFace(
        box=(0, 0, 1, 1), score=1, landmarks=landmarks, embeddings={POOL.name: embedding}
    )


@pytest.fixture(scope="module")
def report() -> Report:
    vectors = identities(PERSONS, faces=PHOTOS)
    photos = {f"p{one}": [f"p{one}/{photo}" for photo in range(PHOTOS)] for one in range(PERSONS)}
    faces = {
        photo: face(vectors[one, number])
        for one in range(PERSONS)
        for number, photo in enumerate(photos[f"p{one}"])
        if photo != LOST
    }
    enrolment = Enrolment(faces, [Failure(LOST, "face_not_found", "no face <found>")])
    split = split_persons(photos, OPTIONS)
    dataset = PersonDataset(split, {"notes.txt": "no image that is read"}, [("Persons", "people")])
    return identification_report(dataset, enrolment, [POOL], OPTIONS)


def table(report: Report, title: str) -> Table:
    blocks: list[Block] = [block for block in report.blocks if block.title == title]
    [found] = [block for block in blocks if isinstance(block, Table)]
    return found


def test_each_size_and_scoring_has_a_row(report: Report) -> None:
    names = [row[0] for row in table(report, "Rank of the enrolled person").rows]
    sizes = (20, 60, 84)  # of 120 persons 36 are strangers; 1000 is extrapolated from all others
    assert names == [
        f"arcface, {size}, {scoring}" for size in sizes for scoring in ("best", "centroid")
    ]
    larger = table(report, "Larger galleries, extrapolated")
    assert [row[0] for row in larger.rows] == ["arcface, 1,000, best", "arcface, 1,000, centroid"]
    assert "Not measured: 84 persons could be enrolled" in larger.note


def test_the_settings_are_those_that_a_gallery_takes(report: Report) -> None:
    [code] = [block for block in report.blocks if isinstance(block, Code)]
    lines = code.code.splitlines()
    assert [line.partition(";")[0] for line in lines[::2]] == [
        f"# {size} persons" for size in ("20", "60", "84", "1,000")
    ]
    found = report.figures["recognizers"]["arcface"]
    thresholds = []
    for line in lines[1::2]:
        body = json.loads(line)
        settings = GallerySettings.model_validate(body | {"gallery": "staff"})
        assert settings.scoring == found["better_scoring"]
        assert settings.threshold is not None
        thresholds.append(settings.threshold)
    assert thresholds == [entry["threshold"] for entry in found["settings"]]
    assert thresholds == sorted(thresholds)  # a larger gallery needs a higher one


def test_the_better_scoring_has_the_lower_fnir(report: Report) -> None:
    found = report.figures["recognizers"]["arcface"]
    fnir = {
        entry["scoring"]: entry["suggestion"]["rates"]["fnir"]["value"]
        for entry in found["galleries"]
        if entry["persons"] == 84
    }
    assert fnir[found["better_scoring"]] == min(fnir.values())


def test_the_page_and_the_json_are_written(report: Report, tmp_path: Path) -> None:
    page = write(report, tmp_path)
    assert "no face &lt;found&gt;" in html(report)
    assert "notes.txt" in page.read_text()
    assert (tmp_path / "det.png").read_bytes().startswith(b"\x89PNG")
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert (figures["enrolled_persons"], figures["non_enrolled_persons"]) == (84, 36)
    assert figures["sizes_beyond_the_persons"] == [1000]
    assert [failure["photo"] for failure in figures["failures"]] == [LOST]
    [cell] = {row[-1] for row in table(report, "Files passed over").rows}
    assert cell == "no image that is read"


def test_photos_of_one_each_are_scored_by_the_best_face_alone() -> None:
    photos = {name: [f"{name}/0", f"{name}/1"] for name in "abcd"}
    vectors = identities(4, faces=2)
    faces = {
        photo: face(vectors[number, index])
        for number, own in enumerate(photos.values())
        for index, photo in enumerate(own)
    }
    options = IdentificationOptions(bootstrap=0)
    dataset = PersonDataset(split_persons(photos, options), {}, [])
    report = identification_report(dataset, Enrolment(faces, []), [POOL], options)
    [gallery] = report.figures["recognizers"]["arcface"]["galleries"]
    assert (gallery["scoring"], gallery["persons"]) == ("best", 3)
    # Two strangers' photos measure no FPIR of 0.01.
    assert "†" in table(report, "Thresholds").rows[0][1]
    assert "not measurable with 2 non-mated searches" in table(report, "Thresholds").note
