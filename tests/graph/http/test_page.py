"""The demo page in a browser, served by the running graph and used like a visitor uses it."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from playwright.sync_api import Browser, Page, Route, expect

from deployments.images.alignment import align
from graph.cluster.launch import RunningGraph
from tests.conftest import API_KEY
from tests.graph.http.test_errors import blank_jpeg
from tests.support.browser import launched
from tests.support.demo_page import (
    GROUP,
    GROUPS,
    TEAM,
    as_number,
    canvas,
    choose,
    drop,
    paste,
    shown_matches,
    similarity,
)
from tests.support.photos import (
    FEW_PLAYERS,
    GDP,
    PLAYERS,
    YAOMING,
    jpeg,
    mosaic,
    photo,
    photo_bytes,
)
from tests.support.waiting import TIMEOUT_S

PHOTOS = {name: photo_bytes(name) for name in (YAOMING, PLAYERS)}
TWICE = {"a.jpg": photo_bytes(YAOMING), "b.jpg": photo_bytes(YAOMING)}


def test_two_dropped_photos_are_compared_without_a_request_to_another_server(
    page: Page, running: RunningGraph, http: httpx.Client, seen: dict[str, list[str]]
) -> None:
    drop(page, PHOTOS)
    assert similarity(page) == pytest.approx(0.63, abs=0.02)
    expect(page.locator("#verdict")).to_have_text("The same person")
    expect(page.locator("#status")).to_contain_text("threshold 0.35")
    assert page.locator("#slot-source .faces button").count() == 1
    assert page.locator("#slot-source .frame circle").count() == 5
    found = http.post("/v1/detect", files={"image": PHOTOS[PLAYERS]}).json()["faces"]
    assert page.locator("#slot-target .faces button").count() == len(found)
    matches = shown_matches(page)
    assert len(matches) == len(found) > 10
    assert matches == sorted(matches, reverse=True)
    assert page.locator("#matches button.match").count() == 1
    assert page.locator("#timings .bar").count() == 9
    foreign = [url for url in seen["requests"] if not url.startswith((running.url, "blob:"))]
    assert not foreign
    assert not seen["errors"]


def test_the_chips_shown_are_the_aligners(page: Page, http: httpx.Client) -> None:
    drop(page, TWICE)
    similarity(page)
    (face,) = http.post("/v1/detect", files={"image": PHOTOS[YAOMING]}).json()["faces"]
    (chip,) = align(photo(YAOMING), np.asarray([face["landmarks"]], np.float32))
    difference = np.abs(canvas(page, "#chip-source").astype(float) - chip)
    assert difference.mean() < 4
    turned = np.abs(canvas(page, "#chip-source")[:, ::-1].astype(float) - chip)
    assert turned.mean() > 10


def test_a_box_and_landmarks_are_drawn_where_the_face_is(page: Page, http: httpx.Client) -> None:
    lying = jpeg(cv2.rotate(photo(YAOMING), cv2.ROTATE_90_CLOCKWISE))
    drop(page, {"a.jpg": PHOTOS[YAOMING], "lying.jpg": lying})
    similarity(page)
    for slot, content in {"#slot-source": PHOTOS[YAOMING], "#slot-target": lying}.items():
        answer = http.post("/v1/detect", files={"image": content}).json()
        (face,) = answer["faces"]
        frame: Any = page.locator(f"{slot} img").bounding_box()
        box: Any = page.locator(f"{slot} .faces button").bounding_box()
        eye: Any = page.locator(f"{slot} .frame circle").first.bounding_box()
        scale = frame["width"] / answer["image"]["width"]
        left, top, right, bottom = face["box"]
        shown = (box["x"] - frame["x"], box["y"] - frame["y"], box["width"], box["height"])
        drawn = [side / scale for side in shown]
        assert drawn == pytest.approx([left, top, right - left, bottom - top], abs=3)
        at = (eye["x"] + eye["width"] / 2 - frame["x"], eye["y"] + eye["height"] / 2 - frame["y"])
        assert [way / scale for way in at] == pytest.approx(face["landmarks"][0], abs=2)


def test_a_turned_face_is_cut_upright_and_so_is_a_photo_that_the_camera_turned(page: Page) -> None:
    upright = photo(YAOMING)
    turned = {
        "exif.jpg": turned_by_exif(YAOMING),
        "90.jpg": jpeg(cv2.rotate(upright, cv2.ROTATE_90_CLOCKWISE)),
        "180.jpg": jpeg(cv2.rotate(upright, cv2.ROTATE_180)),
    }
    choose(page, "source", "a.jpg", photo_bytes(YAOMING))
    for name, content in turned.items():
        choose(page, "target", name, content)
        assert similarity(page) > 0.95
        expect(page.locator("#verdict")).to_have_text("The same person")
        difference = canvas(page, "#chip-target").astype(float) - canvas(page, "#chip-source")
        assert np.abs(difference).mean() < 8, name
    rolls = page.locator("#slot-target td:nth-child(5)").all_text_contents()
    assert abs(abs(as_number(rolls[0].rstrip("\N{DEGREE SIGN}"))) - 180) < 5


def turned_by_exif(name: str) -> bytes:
    """The photo stored lying on its side, with the EXIF orientation that corrects it (6)."""
    stored = cv2.rotate(photo(name), cv2.ROTATE_90_COUNTERCLOCKWISE)
    content = jpeg(stored)
    entry = bytes.fromhex("0112 0003 00000001 0006 0000")
    exif = b"Exif\0\0MM\0*" + bytes.fromhex("00000008 0001") + entry + bytes(4)
    return content[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + content[2:]


def test_an_uncertain_verdict_names_its_causes(page: Page) -> None:
    choose(page, "source", "mosaic.jpg", jpeg(mosaic(photo(YAOMING))))
    choose(page, "target", "blurred.jpg", jpeg(cv2.GaussianBlur(photo(YAOMING), (0, 0), 6)))
    similarity(page)
    expect(page.locator("#verdict")).to_have_class("uncertain")
    expect(page.locator("#chip-source-facts")).to_have_text(re.compile(r"^quality 0\.\d\d, few"))
    expect(page.locator("#chip-target-facts")).to_have_text(re.compile(r"^quality .*, blurred$"))
    expect(page.locator(".doubted")).to_have_count(2)
    explanation = page.locator("#explanation")
    poor = r"First photo: few details; quality 0\.\d\d, arcface needs 0\.\d\d\. "
    expect(explanation).to_have_text(re.compile(f"{poor}Second photo: blurred; quality 0"))
    page.click("#language")
    expect(explanation).to_have_text(re.compile("^第一张照片.细节不足.质量 0.*第二张照片.模糊"))
    choose(page, "source", "clear.jpg", photo_bytes(YAOMING))
    expect(explanation).to_have_text(re.compile("^第二张照片.模糊"))
    expect(page.locator(".doubted")).to_have_count(1)


def test_files_options_and_threshold_are_chosen(page: Page, seen: dict[str, list[str]]) -> None:
    options = page.locator("#options-part")
    expect(options).to_be_hidden()
    choose(page, "source", "a.jpg", photo_bytes(YAOMING))
    expect(page.locator("#slot-source .caption")).to_contain_text("1 face")
    expect(options).to_be_hidden()
    choose(page, "target", "b.jpg", photo_bytes(GDP))
    similarity(page)
    page.click("#options-part summary")
    page.check("[name='faces'][value='largest']")
    expect(page.locator("#matches-part")).to_be_hidden()
    expect(page.locator("#explanation")).to_contain_text(
        "with only the largest of 3 faces of like size of the second photo"
    )
    second = page.get_by_role("checkbox", name="second", exact=True)
    second.check()
    facts = "512 numbers · threshold 0.35 · no commercial use (weights by InsightFace"
    expect(second).to_have_accessible_description(re.compile(re.escape(facts)))
    detector = re.compile("^Detector retinaface-mnet025: .* commercial use permitted .MIT")
    expect(page.locator("#other-models")).to_have_text(detector)
    expect(page.locator("#scores tbody tr")).to_have_count(2)
    for box in page.locator("#recognizers input").all():
        box.click()
    expect(page.locator("#recognizers input:checked")).to_have_count(1)  # the server needs one
    page.focus("#threshold")
    page.keyboard.press("Home")
    expect(page.locator("#verdict")).to_have_text("The same person")
    expect(page.locator("#scale")).to_have_attribute("aria-label", re.compile(r"at .1\.00$"))
    page.click("#threshold-reset")
    expect(page.locator("#verdict")).to_have_text("No match for this face")
    assert not seen["errors"]


def test_the_threshold_is_the_one_that_decided(page: Page) -> None:
    def fused_by_max(route: Route) -> None:
        """Answer as a graph whose fusion takes one recognizer's threshold, not the mean."""
        answer = route.fetch(timeout=1000 * TIMEOUT_S)
        body = answer.json()
        body["matches"][0]["threshold"] = 0.41
        route.fulfill(response=answer, json=body)

    page.route("**/v1/compare", fused_by_max)
    page.click(TEAM)
    similarity(page)
    expect(page.locator("#threshold")).to_have_value("0.41")
    expect(page.locator("#options-chosen")).to_contain_text("threshold 0.41")


def test_a_comparison_runs_once_and_by_itself(page: Page, seen: dict[str, list[str]]) -> None:
    choose(page, "source", "a.jpg", photo_bytes(YAOMING))
    choose(page, "target", "b.jpg", photo_bytes(FEW_PLAYERS))
    similarity(page)
    page.wait_for_load_state("networkidle")
    sent = [url.rpartition("/")[2] for url in seen["requests"] if "/v1/" in url]
    assert sorted(sent) == ["compare", "detect", "detect", "models"]
    expect(page.get_by_role("button", name="Compare", exact=True)).to_have_count(0)


def test_pasted_photos_fill_the_empty_places(page: Page) -> None:
    paste(page, {"a.jpg": photo_bytes(YAOMING)})
    expect(page.locator("#slot-source .caption")).to_contain_text("a.jpg")
    paste(page, {"b.jpg": photo_bytes(YAOMING)})
    assert similarity(page) == pytest.approx(1, abs=0.001)


def test_the_webcam_takes_a_photo(page: Page) -> None:
    choose(page, "target", "a.jpg", photo_bytes(YAOMING))
    page.click("#slot-source .camera")
    page.click("#webcam-take")
    assert similarity(page) > 0.9
    expect(page.locator("#slot-source .caption")).to_contain_text("webcam.jpg")
    expect(page.locator("#webcam")).to_be_hidden()


def test_a_page_without_a_webcam_offers_none(browser: Browser, running: RunningGraph) -> None:
    with launched(browser.browser_type) as without_webcam:
        page = without_webcam.new_page()
        page.goto(running.url)
        page.click(GROUP)
        similarity(page)
        expect(page.locator(".camera:visible")).to_have_count(0)


def test_two_groups_are_no_verdict_on_all_of_their_people(page: Page) -> None:
    page.click(GROUPS)
    similarity(page)
    expect(page.locator("#verdict")).to_have_text("Too uncertain to tell")
    expect(page.locator("#explanation")).to_contain_text(
        "Only face 3 of the first photo, the largest of 3 of like size, was compared with all"
    )
    page.click("#matches button.mismatch >> nth=1")
    expect(page.locator("#verdict")).to_have_text("Different people")  # of this one pair
    page.click("#slot-source .faces button >> nth=1")
    expect(page.locator("#explanation")).to_contain_text("Face 2 of the first photo was compared")
    page.click("#options-part summary")
    page.check("#recognizers input[value='second']")
    expect(page.locator("#scores tbody tr")).to_have_count(2)
    expect(page.locator("#explanation")).to_contain_text("Face 2 of the first photo was compared")


def test_a_clicked_face_is_compared_with_every_face_of_the_other_photo(
    page: Page, http: httpx.Client
) -> None:
    page.click(GROUPS)
    similarity(page)
    page.click("#slot-target .faces button >> nth=4")
    expect(page.locator("#matches-title")).to_contain_text("6 faces of the first photo")
    cosines = embeddings(http, GDP) @ embeddings(http, FEW_PLAYERS)[4]
    assert shown_matches(page) == pytest.approx(sorted(cosines, reverse=True), abs=0.002)
    best = f"First photo, face {np.argmax(cosines) + 1},"
    for side, words in {"source": best, "target": "Second photo, face 5,"}.items():
        chip = page.locator(f"#chip-{side}")
        expect(chip).to_have_attribute("aria-label", re.compile(words))  # the photos' own sides


def test_a_face_can_be_chosen_before_the_second_photo(page: Page) -> None:
    choose(page, "source", "a.jpg", photo_bytes(GDP))
    face = page.locator("#slot-source .faces button").nth(1)
    face.click()
    expect(face).to_have_attribute("aria-pressed", "true")
    choose(page, "target", "b.jpg", photo_bytes(FEW_PLAYERS))
    similarity(page)
    expect(page.locator("#chip-source-name")).to_have_text("Face 2")


def test_a_click_on_the_largest_face_agrees_with_the_comparison(page: Page) -> None:
    page.click(TEAM)
    similarity(page)
    compared = shown_matches(page)
    page.click("#repeat-title")
    page.click("#tab-python")
    page.click("#slot-source .faces button")
    expect(page.locator("#snippet")).to_contain_text('"source_face": 0')
    assert shown_matches(page) == pytest.approx(compared, abs=0.002)


def embeddings(http: httpx.Client, name: str) -> Any:
    """float [N,512], of every face, by falling score."""
    answer = http.post("/v1/embed", files={"image": photo_bytes(name)}, data={"faces": "all"})
    faces = answer.json()["faces"]
    return np.asarray([face["embeddings"]["arcface"]["embedding"] for face in faces])


def test_the_keyboard_alone_is_enough(page: Page) -> None:
    press_until(page, "Tab", GROUPS)
    page.keyboard.press("Enter")
    similarity(page)
    press_until(page, "Tab", "#slot-source .faces button >> nth=0")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(page.locator("#chip-source-name")).to_have_text("Face 2")
    press_until(page, "Tab", "#matches button[aria-pressed='true']")
    page.keyboard.press("End")
    page.keyboard.press("Enter")
    last = page.locator("#matches button").last
    expect(last).to_have_attribute("aria-pressed", "true")
    expect(last).to_be_focused()
    press_until(page, "Tab", "summary:has(#repeat-title)")
    page.keyboard.press("Enter")
    press_until(page, "Tab", "#tab-curl")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#snippet")).to_contain_text("import httpx")


def press_until(page: Page, key: str, selector: str) -> None:
    target = page.locator(selector)
    for _ in range(60):
        page.keyboard.press(key)
        if target.evaluate("element => element === document.activeElement"):
            outline = target.evaluate("element => getComputedStyle(element).outlineStyle")
            assert outline == "solid"  # the focus is visible
            return
    raise AssertionError(f"{key} does not lead to {selector}")


def test_the_calls_shown_repeat_the_comparison(page: Page, tmp_path: Path) -> None:
    for name, content in {"it's 1.jpg": PHOTOS[YAOMING], "b.jpg": photo_bytes(FEW_PLAYERS)}.items():
        (tmp_path / name).write_bytes(content)
    choose(page, "source", "it's 1.jpg", PHOTOS[YAOMING])
    choose(page, "target", "b.jpg", photo_bytes(FEW_PLAYERS))
    best = similarity(page)
    page.click("#repeat-title")
    for language, program in ("curl", "bash"), ("python", sys.executable):
        page.click(f"#tab-{language}")
        page.click("#copy")
        expect(page.locator("#copy")).to_have_text("Copied")
        written = page.evaluate("() => navigator.clipboard.readText()")
        done = subprocess.run(
            [program, "-c", written], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert f"{best:.2f}" in done.stdout, done.stderr


def test_an_error_stands_in_the_slot_of_its_photo(
    page: Page, seen: dict[str, list[str]], tmp_path: Path
) -> None:
    choose(page, "source", "a.jpg", photo_bytes(YAOMING))
    choose(page, "target", "wall.jpg", blank_jpeg())
    problem = page.get_by_role("alert")
    expect(problem).to_contain_text("No face was found in this photo.")
    expect(page.locator("#slot-target").get_by_role("alert")).to_be_visible()
    expect(page.locator("#explanation")).to_have_text("The second photo cannot be compared.")
    choose(page, "target", "note.txt", b"no photo at all")
    expect(problem).to_contain_text("The server does not read this kind of file.")
    expect(page.locator("#slot-target .caption")).to_have_text("note.txt")
    (tmp_path / "long.jpg").write_bytes(photo_bytes(GDP) + bytes(13_000_000))
    page.set_input_files("#file-target", tmp_path / "long.jpg")
    expect(problem).to_contain_text("This image is too large for the server.")
    expect(page.locator("#result")).to_be_hidden()
    expect(page.locator("#slot-source .caption")).to_contain_text("1 face")
    assert not seen["errors"]  # the server refused nothing, as it was asked for nothing impossible


def test_a_photo_that_is_cut_off_is_named_so(page: Page) -> None:
    choose(page, "source", "cut.jpg", photo_bytes(YAOMING)[:-2000])
    caption = page.locator("#slot-source .caption")
    expect(caption).to_contain_text("the file is cut off")


def test_a_slot_does_not_look_for_faces_for_ever(page: Page) -> None:
    damaged = cv2.imencode(".png", photo(YAOMING))[1].tobytes()[:5000]
    choose(page, "source", "damaged.png", damaged)
    alert = page.locator("#slot-source").get_by_role("alert")
    expect(alert).to_contain_text("This file is no image that can be read.")
    expect(alert).to_contain_text("invalid_image (422)")
    expect(alert).to_contain_text("request ")
    expect(page.locator("#slot-source .caption")).to_have_text("damaged.png")
    page.context.set_offline(True)
    choose(page, "source", "a.jpg", photo_bytes(YAOMING))
    expect(alert).to_contain_text("The server cannot be reached.")
    expect(page.locator("#slot-source .caption")).to_have_text("a.jpg")
    page.context.set_offline(False)
    alert.get_by_role("button").click()
    expect(page.locator("#slot-source .caption")).to_contain_text("1 face")
    expect(alert).to_be_hidden()


def test_a_late_example_does_not_replace_a_visitors_photo(page: Page) -> None:
    held: list[Route] = []
    with page.expect_request("**/examples/players.jpg"):
        page.route("**/examples/players.jpg", lambda route: held.append(route))
        page.click(TEAM)
    choose(page, "source", "mine.jpg", photo_bytes(GDP))
    caption = page.locator("#slot-source .caption")
    expect(caption).to_contain_text("6 faces")
    with page.expect_event("requestfinished", lambda request: "players" in request.url):
        held[0].continue_()
    page.wait_for_timeout(300)
    expect(caption).to_contain_text("mine.jpg")
    expect(page.locator("#slot-target .empty")).to_be_visible()


def test_a_comparison_that_failed_can_be_repeated(page: Page) -> None:
    page.route("**/v1/compare", lambda route: route.abort())
    page.click(TEAM)
    problem = page.locator("#problem")
    expect(problem).to_contain_text("The server cannot be reached.")
    expect(page.locator("#bridge")).to_have_attribute("aria-busy", "false")
    page.unroute("**/v1/compare")
    problem.get_by_role("button").click()
    assert similarity(page) == pytest.approx(0.63, abs=0.02)
    expect(problem).to_be_hidden()


def test_under_a_prefix_with_a_key_that_is_asked_for(browser: Browser, strict: Any) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(str(strict.base_url).rstrip("/"))  # the page is at this address plus a slash
    expect(page.locator("#key")).to_be_focused()
    expect(page.locator("#problem")).to_be_hidden()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    choose(page, "source", "a.jpg", photo_bytes(YAOMING))
    slot = page.locator("#slot-source").get_by_role("alert")
    expect(slot).to_contain_text("The server asks for an API key")
    assert not [url for url in asked if "/v1/" in url]
    page.click("#slot-source .clear")
    page.fill("#key", "a wrong one")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("unauthorized (401)")
    page.fill("#key", API_KEY)
    page.keyboard.press("Enter")
    expect(page.locator("#recognizers input")).to_have_count(1)
    expect(page.locator("#access")).to_be_hidden()
    choose(page, "source", "a.jpg", photo_bytes(YAOMING))
    problem = page.get_by_role("alert")
    expect(problem).to_contain_text("The answer did not come in time.")
    assert API_KEY not in page.content()
    context.close()


@pytest.mark.parametrize("prefix", ["", "/strict"])
def test_the_description_can_be_read_and_tried_offline(
    browser: Browser, running: RunningGraph, prefix: str
) -> None:
    context = browser.new_context()
    page = context.new_page()
    asked: list[str] = []
    errors: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"{running.url}{prefix}/docs")
    page.click("#operations-faces-compare .opblock-summary-control")
    page.click("#operations-faces-compare .try-out__btn")
    with page.expect_response("**/v1/compare") as answered:
        page.click("#operations-faces-compare .execute")
    assert answered.value.url == f"{running.url}{prefix}/v1/compare"
    assert answered.value.status == (401 if prefix else 200)
    assert all(url.startswith((running.url, "data:")) for url in asked)
    assert not errors
    context.close()
