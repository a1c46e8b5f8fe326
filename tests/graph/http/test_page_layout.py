"""The demo page's layout, languages, colours and accessibility, on screens of several sizes."""

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.support.demo_page import GROUP, GROUPS, TEAM, similarity, transfer
from tests.support.photos import YAOMING, photo_bytes


@pytest.mark.parametrize("page", [{"locale": "zh-CN"}], indirect=True)
def test_a_chinese_browser_has_a_chinese_page_until_its_user_chooses_english(
    page: Page,
) -> None:
    page.click(GROUP)
    similarity(page)
    assert page.get_attribute("html", "lang") == "zh-Hans"
    expect(page.locator("#verdict")).to_contain_text("无法判断")
    expect(page.locator("#status")).to_contain_text("相似度")
    page.click("#language")
    expect(page.locator("#verdict")).to_have_text("Too uncertain to tell")
    page.reload()
    expect(page.locator("#verdict")).to_have_text("Add two photos")


def test_the_language_can_be_switched_while_a_photo_is_decoded(
    page: Page, seen: dict[str, list[str]]
) -> None:
    page.click(GROUP)
    similarity(page)
    page.evaluate(
        """data => {
          const drop = new Event("drop", { bubbles: true, cancelable: true });
          drop.dataTransfer = data;
          document.getElementById("slot-source").dispatchEvent(drop);
          document.getElementById("language").click();
        }""",
        transfer(page, {"a.jpg": photo_bytes(YAOMING)}),
    )
    expect(page.locator("#slot-source .caption")).to_contain_text("1 张人脸")
    assert not seen["errors"]


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
    page.click(GROUP)
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


PHONE = {"viewport": {"width": 375, "height": 812}, "has_touch": True, "is_mobile": True}


@pytest.mark.parametrize("example", [TEAM, GROUPS])
def test_the_verdict_is_seen_without_scrolling(page: Page, example: str) -> None:
    page.click(example)
    check_verdict_in_view(page)
    assert page.evaluate("() => scrollY") == 0


@pytest.mark.parametrize("page", [PHONE], indirect=True, ids=["phone"])
def test_a_phone_shows_everything_and_the_verdict_after_each_tap(page: Page) -> None:
    page.tap(GROUPS)
    check_verdict_in_view(page)
    page.locator("#slot-target").scroll_into_view_if_needed()
    page.tap("#slot-target .faces button >> nth=4")
    expect(page.locator("#chip-target-name")).to_have_text("Face 5")
    check_verdict_in_view(page)
    assert page.evaluate("() => document.documentElement.scrollWidth") == 375


def check_verdict_in_view(page: Page) -> None:
    similarity(page)
    for part in ("#verdict", "#similarity", "#scale", "#chip-source", "#chip-target"):
        expect(page.locator(part)).to_be_in_viewport(ratio=1)


@pytest.mark.parametrize("page", [PHONE], indirect=True, ids=["phone"])
def test_a_fingertip_hits_each_face(page: Page) -> None:
    page.tap(GROUPS)
    similarity(page)
    faces = page.locator("#slot-target .faces button")
    page.locator("#slot-target").evaluate("slot => slot.scrollIntoView()")
    boxes: list[Any] = [face.bounding_box() for face in faces.all()]
    assert all(min(box["width"], box["height"]) >= 24 for box in boxes)
    # Faces of the public are smaller than their buttons, which overlap others.
    crowded = [
        index
        for index, box in enumerate(boxes)
        if any(0 < distance(box, other) < 24 for other in boxes)
    ]
    for index in (crowded[0], crowded[-1]):
        box = boxes[index]
        page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        expect(page.locator("#chip-target-name")).to_have_text(f"Face {index + 1}")


def distance(box: Any, other: Any) -> float:
    """The larger one of the distances across and down between two boxes' middles."""
    middles = [
        (part["x"] + part["width"] / 2, part["y"] + part["height"] / 2) for part in (box, other)
    ]
    return float(max(abs(one - another) for one, another in zip(*middles, strict=True)))


@pytest.mark.parametrize(
    ("page", "animation"),
    [({"reduced_motion": "reduce"}, "none"), ({"reduced_motion": "no-preference"}, "wait")],
    indirect=["page"],
    ids=["still", "moving"],
)
def test_nothing_moves_for_those_who_ask_for_it(page: Page, animation: str) -> None:
    bridge = page.locator("#bridge")
    bridge.evaluate("bridge => bridge.setAttribute('aria-busy', 'true')")
    style = bridge.evaluate("bridge => getComputedStyle(bridge, '::after').animationName")
    assert style == animation
