"""The demo page in a browser, served by the running graph and used like a visitor uses it."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Error, Page, Request, expect

from deployments.aligner.alignment import align
from graph.cluster.launch import RunningGraph
from tests.conftest import API_KEY
from tests.graph.http.test_errors import blank_jpeg
from tests.support.browser import chromium
from tests.support.demo_page import (
    ANSWER_MS,
    canvas,
    choose,
    drop,
    paste,
    shown_matches,
    similarity,
)
from tests.support.photos import GDP, PLAYERS, YAOMING, photo, photo_bytes

PHOTOS = {name: photo_bytes(name) for name in (YAOMING, PLAYERS)}
TEAM = "[data-pair='yaoming.jpg players.jpg']"
FIVE = "[data-pair='yaoming.jpg gdp.jpg']"
GROUPS = "[data-pair='gdp.jpg players.jpg']"
TWICE = {"a.jpg": photo_bytes(YAOMING), "b.jpg": photo_bytes(YAOMING)}


def filmed(folder: Path) -> Path:
    """Write a film for the webcam: the portrait in the middle of 640 x 480 pixels."""
    picture = np.full((480, 640, 3), 200, np.uint8)
    portrait = photo(YAOMING)
    top, left = (480 - portrait.shape[0]) // 2, (640 - portrait.shape[1]) // 2
    picture[top : top + portrait.shape[0], left : left + portrait.shape[1]] = portrait
    file = folder / "webcam.mjpeg"
    file.write_bytes(cv2.imencode(".jpg", picture)[1].tobytes() * 2)
    return file


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(webcam=filmed(tmp_path_factory.mktemp("webcam"))) as started:
        yield started


@pytest.fixture
def seen() -> dict[str, list[str]]:
    """The URLs that the page requests, and the errors of the browser's console."""
    return {"requests": [], "errors": []}


@pytest.fixture
def page(
    browser: Browser,
    running: RunningGraph,
    seen: dict[str, list[str]],
    request: pytest.FixtureRequest,
) -> Iterator[Page]:
    """The page in a browser context of its own; tests set the context's options indirectly."""
    options: dict[str, Any] = {
        "viewport": {"width": 1280, "height": 900},
        "permissions": ["camera", "clipboard-read", "clipboard-write"],
        **getattr(request, "param", {}),
    }
    context = browser.new_context(base_url=running.url, **options)
    opened = context.new_page()

    def note_message(message: ConsoleMessage) -> None:
        if message.type == "error":
            seen["errors"].append(message.text)

    def note_request(sent: Request) -> None:
        seen["requests"].append(sent.url)

    def note_error(error: Error) -> None:
        seen["errors"].append(str(error))

    opened.on("request", note_request)
    opened.on("pageerror", note_error)
    opened.on("console", note_message)
    opened.goto("/")
    expect(opened.locator("#recognizers input").first).to_be_visible(timeout=ANSWER_MS)
    yield opened
    context.close()


def test_two_dropped_photos_are_compared_without_a_request_to_another_server(
    page: Page, running: RunningGraph, seen: dict[str, list[str]]
) -> None:
    drop(page, PHOTOS)
    assert similarity(page) == pytest.approx(0.63, abs=0.02)
    expect(page.locator("#verdict")).to_have_text("The same person")
    expect(page.locator("#status")).to_contain_text("threshold 0.35")
    assert page.locator("#slot-source .faces button").count() == 1
    assert page.locator("#slot-source .frame circle").count() == 5
    assert page.locator("#slot-target .faces button").count() == 18
    matches = shown_matches(page)
    assert len(matches) == 18
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


def test_a_box_is_drawn_where_the_face_is(page: Page, http: httpx.Client) -> None:
    drop(page, TWICE)
    similarity(page)
    (face,) = http.post("/v1/detect", files={"image": PHOTOS[YAOMING]}).json()["faces"]
    frame: Any = page.locator("#slot-source img").bounding_box()
    box: Any = page.locator("#slot-source .faces button").bounding_box()
    scale = frame["width"] / photo(YAOMING).shape[1]
    corner = ((box["x"] - frame["x"]) / scale, (box["y"] - frame["y"]) / scale)
    assert corner == pytest.approx(face["box"][:2], abs=2)
    assert box["width"] / scale == pytest.approx(face["box"][2] - face["box"][0], abs=3)


def test_a_photo_that_the_camera_turned_is_shown_and_cut_upright(page: Page) -> None:
    choose(page, "source", "a.jpg", photo_bytes(YAOMING))
    choose(page, "target", "turned.jpg", turned_by_exif(YAOMING))
    assert similarity(page) > 0.95
    difference = canvas(page, "#chip-target").astype(float) - canvas(page, "#chip-source")
    assert np.abs(difference).mean() < 8
    expect(page.locator("#slot-target .caption")).to_contain_text("287")


def turned_by_exif(name: str) -> bytes:
    """The photo stored lying on its side, with the EXIF orientation that corrects it (6)."""
    stored = cv2.rotate(photo(name), cv2.ROTATE_90_COUNTERCLOCKWISE)
    jpeg = cv2.imencode(".jpg", stored, [cv2.IMWRITE_JPEG_QUALITY, 97])[1].tobytes()
    entry = bytes.fromhex("0112 0003 00000001 0006 0000")
    exif = b"Exif\0\0MM\0*" + bytes.fromhex("00000008 0001") + entry + bytes(4)
    return jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + jpeg[2:]


def test_files_options_and_threshold_are_chosen(page: Page, seen: dict[str, list[str]]) -> None:
    page.check("[name='faces'][value='largest']")
    choose(page, "source", "a.jpg", photo_bytes(YAOMING))
    choose(page, "target", "b.jpg", photo_bytes(GDP))
    similarity(page)
    expect(page.locator("#verdict")).to_have_text("Different people")
    expect(page.locator("#matches-part")).to_be_hidden()
    page.check("#recognizers input[value='second']")
    expect(page.locator("#scores tbody tr")).to_have_count(2)
    page.focus("#threshold")
    page.keyboard.press("Home")
    expect(page.locator("#verdict")).to_have_text("The same person")
    expect(page.locator("#scale")).to_have_attribute("aria-label", re.compile(r"at .1\.00$"))
    page.click("#threshold-reset")
    expect(page.locator("#verdict")).to_have_text("Different people")
    assert not seen["errors"]


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


def test_a_clicked_face_is_compared_with_every_face_of_the_other_photo(
    page: Page, http: httpx.Client
) -> None:
    page.click(GROUPS)
    similarity(page)
    page.click("#slot-target .faces button >> nth=4")
    expect(page.locator("#matches-title")).to_contain_text("5 compared faces of the first photo")
    expect(page.locator("#chip-source-name")).to_have_text("Second photo, face 5")
    vectors = {name: embeddings(http, name) for name in (GDP, PLAYERS)}
    cosines = sorted(vectors[GDP] @ vectors[PLAYERS][4], reverse=True)
    assert shown_matches(page) == pytest.approx(cosines, abs=0.002)


def test_a_click_on_the_largest_face_agrees_with_the_comparison(page: Page) -> None:
    page.click(TEAM)
    similarity(page)
    compared = shown_matches(page)
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
    expect(page.locator("#chip-source-name")).to_have_text("First photo, face 2")
    press_until(page, "Tab", "#matches button[aria-pressed='true']")
    page.keyboard.press("End")
    page.keyboard.press("Enter")
    last = page.locator("#matches button").last
    expect(last).to_have_attribute("aria-pressed", "true")
    expect(last).to_be_focused()
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


@pytest.mark.parametrize("language", ["curl", "python"])
def test_the_calls_shown_repeat_the_comparison(page: Page, tmp_path: Path, language: str) -> None:
    for name, content in {"it's 1.jpg": PHOTOS[YAOMING], "b.jpg": PHOTOS[PLAYERS]}.items():
        (tmp_path / name).write_bytes(content)
    choose(page, "source", "it's 1.jpg", PHOTOS[YAOMING])
    choose(page, "target", "b.jpg", PHOTOS[PLAYERS])
    best = similarity(page)
    page.click(f"#tab-{language}")
    page.click("#copy")
    expect(page.locator("#copy")).to_have_text("Copied")
    written = page.evaluate("() => navigator.clipboard.readText()")
    command = {"curl": ["bash", "-c", written], "python": [sys.executable, "-c", written]}
    done = subprocess.run(
        command[language], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert f"{best:.2f}" in done.stdout, done.stderr


def test_a_photo_without_a_face_is_reported_in_words(page: Page) -> None:
    choose(page, "source", "a.jpg", photo_bytes(YAOMING))
    choose(page, "target", "wall.jpg", blank_jpeg())
    problem = page.get_by_role("alert")
    expect(problem).to_contain_text("No face was found in the second photo.", timeout=ANSWER_MS)
    expect(problem).to_contain_text("face_not_found (422)")
    expect(problem).to_contain_text("request ")
    expect(page.locator("#result")).to_be_hidden()
    choose(page, "target", "note.txt", b"no photo at all")
    expect(problem).to_contain_text("The file of the second photo is no image", timeout=ANSWER_MS)


@pytest.mark.parametrize("page", [{"locale": "zh-CN"}], indirect=True)
def test_a_chinese_browser_has_a_chinese_page_until_its_user_chooses_english(
    page: Page,
) -> None:
    page.click(FIVE)
    similarity(page)
    assert page.get_attribute("html", "lang") == "zh-Hans"
    expect(page.locator("#verdict")).to_have_text("不是同一个人")
    expect(page.locator("#status")).to_contain_text("相似度")
    page.click("#language")
    expect(page.locator("#verdict")).to_have_text("Different people")
    page.reload()
    expect(page.locator("#photos-title")).to_have_text("Two photos")


def test_both_languages_have_every_text(page: Page) -> None:
    names = page.evaluate(
        """async () => {
          const { texts } = await import("/page/texts.js");
          const names = (part) => Object.entries(part).flatMap(([name, value]) =>
            typeof value === "object" ? [name, ...names(value)] : [`${name} ${typeof value}`]);
          return Object.values(texts).map(names);
        }"""
    )
    assert names[0] == names[1]
    used = page.evaluate(
        "() => [...document.querySelectorAll('[data-text]')].filter((item) => !item.textContent)"
        ".map((item) => item.dataset.text)"
    )
    assert not used


@pytest.mark.parametrize("page", [{"color_scheme": "dark"}], indirect=True)
def test_a_dark_system_has_a_dark_page_until_its_user_chooses_light(page: Page) -> None:
    assert brightness(page) < 60
    page.click("#theme")
    assert brightness(page) > 200
    page.reload()
    assert brightness(page) > 200


def brightness(page: Page) -> float:
    colour = page.locator("body").evaluate("body => getComputedStyle(body).backgroundColor")
    channels = [float(part) for part in colour.strip("rgb()").split(",")]
    return sum(channels) / 3


@pytest.mark.parametrize(
    "page", [{"color_scheme": "light"}, {"color_scheme": "dark"}], indirect=True, ids=str
)
def test_the_page_is_accessible(page: Page) -> None:
    check_accessible(page)
    page.click(FIVE)
    similarity(page)
    for table in page.locator("details summary").all():
        table.click()
    check_accessible(page)
    page.click("#slot-source .camera")
    check_accessible(page)


def check_accessible(page: Page) -> None:
    """No violation of axe-core's rules: names, roles, landmarks, focus, contrast."""
    found = Axe().run(page).response["violations"]
    assert not found, [(item["id"], [node["html"] for node in item["nodes"]]) for item in found]


@pytest.mark.parametrize("page", [{"viewport": {"width": 390, "height": 844}}], indirect=True)
def test_a_narrow_screen_shows_everything_without_scrolling_sideways(page: Page) -> None:
    page.click(FIVE)
    similarity(page)
    assert page.evaluate("() => document.documentElement.scrollWidth") == 390


def test_under_a_prefix_with_a_key_that_is_asked_for(browser: Browser, strict: Any) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(str(strict.base_url).rstrip("/"))  # the page is at this address plus a slash
    expect(page.locator("#key")).to_be_focused(timeout=ANSWER_MS)
    expect(page.locator("#problem")).to_be_hidden()
    page.fill("#key", "a wrong one")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("unauthorized (401)")
    page.fill("#key", API_KEY)
    page.keyboard.press("Enter")
    expect(page.locator("#recognizers input")).to_have_count(1)
    expect(page.locator("#access")).to_be_hidden()
    choose(page, "source", "a.jpg", photo_bytes(YAOMING))
    problem = page.get_by_role("alert")
    expect(problem).to_contain_text("The answer did not come in time.", timeout=ANSWER_MS)
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
