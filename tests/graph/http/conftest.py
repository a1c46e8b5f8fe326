"""The demo page in a browser, served by the running graph."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Error, Page, Request, Route, expect

from graph.cluster.launch import RunningGraph
from tests.support.browser import chromium
from tests.support.photos import FEW_PLAYERS, PLAYERS, YAOMING, photo, photo_bytes
from tests.support.waiting import TIMEOUT_S


def filmed(folder: Path) -> Path:
    """Write a film for the webcam: the portrait in the middle of 640 x 480 pixels."""
    picture = np.full((480, 640, 3), 200, np.uint8)
    portrait = photo(YAOMING)
    top, left = (480 - portrait.shape[0]) // 2, (640 - portrait.shape[1]) // 2
    picture[top : top + portrait.shape[0], left : left + portrait.shape[1]] = portrait
    file = folder / "webcam.mjpeg"
    file.write_bytes(cv2.imencode(".jpg", picture)[1].tobytes() * 2)
    return file


@pytest.fixture(scope="package")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(webcam=filmed(tmp_path_factory.mktemp("webcam"))) as started:
        yield started


@pytest.fixture
def seen() -> dict[str, list[str]]:
    """The URLs that the page requests, and the errors of the browser's console."""
    return {"requests": [], "errors": []}


def give_few_players(route: Route) -> None:
    route.fulfill(body=photo_bytes(FEW_PLAYERS), content_type="image/jpeg")


@pytest.fixture
def page(
    browser: Browser,
    running: RunningGraph,
    seen: dict[str, list[str]],
    request: pytest.FixtureRequest,
) -> Iterator[Page]:
    """The page in a browser context of its own; tests set the context's options indirectly.

    The example of players is a part of the photo. At the end, the page's text is printed, which
    pytest shows of a failed test.
    """
    options: dict[str, Any] = {
        "viewport": {"width": 1280, "height": 900},
        "permissions": ["camera", "clipboard-read", "clipboard-write"],
        **getattr(request, "param", {}),
    }
    context = browser.new_context(base_url=running.url, **options)
    context.set_default_timeout(1000 * TIMEOUT_S)
    context.route(f"**/examples/{PLAYERS}", give_few_players)
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
    expect(opened.locator("#recognizers input").first).to_be_attached()
    yield opened
    print(opened.url, opened.inner_text("body"), *seen["errors"], sep="\n")
    context.close()
