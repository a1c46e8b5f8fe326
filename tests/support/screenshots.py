"""Writes docs/pictures/*.png, screenshots of the demo page. Run by `make screenshots`."""

import io
from collections.abc import Callable
from tempfile import TemporaryDirectory
from typing import Any

import cv2
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from graph.cluster.launch import own_graph
from graph.cluster.serve_file import read_serve_file
from tests.graph.http.test_errors import blank_jpeg
from tests.support.browser import chromium
from tests.support.demo_page import TEAM, choose, similarity
from tests.support.photos import PLAYERS, YAOMING, jpeg, mosaic, photo, photo_bytes, photo_path
from tests.support.profiles import ROOT, with_galleries

PICTURES = ROOT / "docs" / "pictures"
COLOURS = 128  # keeps a picture under 300 KB


def main() -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    content = read_serve_file(ROOT / "serve_config.yaml")
    (app,) = content["applications"]
    with (
        TemporaryDirectory() as folder,
        own_graph(content | {"applications": [with_galleries(app, data_dir=folder)]}) as graph,
        chromium() as browser,
    ):
        picture = Camera(browser, graph.url)
        picture("light", team)
        picture("dark", uncertain, color_scheme="dark")
        picture("error", no_face)
        picture("phone", team, viewport={"width": 375, "height": 812}, is_mobile=True)
        picture("galleries", found)


class Camera:
    def __init__(self, browser: Browser, url: str) -> None:
        self._browser = browser
        self._url = url

    def __call__(self, name: str, act: Callable[[Page], None], **options: Any) -> None:
        """Save a screenshot of the page after `act`, in a browser context with these options."""
        context = self._browser.new_context(
            base_url=self._url, **{"viewport": {"width": 1280, "height": 900}, **options}
        )
        page = context.new_page()
        page.goto("/")
        expect(page.locator("#recognizers input").first).to_be_attached()
        for _ in range(3):  # the first requests are slowed by lazy loading
            act(page)
        shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
        file = PICTURES / f"page-{name}.png"
        shot.quantize(COLOURS).save(file, optimize=True)
        print(f"{file.relative_to(ROOT)}: {file.stat().st_size // 1000} KB")
        context.close()


def team(page: Page) -> None:
    page.click(TEAM)
    similarity(page)


def uncertain(page: Page) -> None:
    """A mosaic, compared with a turned face."""
    portrait = photo(YAOMING)
    choose(page, "source", "mosaic.jpg", jpeg(mosaic(portrait)))
    choose(page, "target", "turned.jpg", jpeg(cv2.rotate(portrait, cv2.ROTATE_90_CLOCKWISE)))
    similarity(page)


def no_face(page: Page) -> None:
    choose(page, "source", "portrait.jpg", photo_bytes(YAOMING))
    choose(page, "target", "wall.jpg", blank_jpeg())
    expect(page.get_by_role("alert")).to_contain_text("No face")


def found(page: Page) -> None:
    """A man enrolled from one photo, and found among the faces of another."""
    page.goto("/galleries")
    page.fill("#new-gallery", "staff")
    page.click("#create button:not([type])")
    expect(page.locator("#gallery")).to_have_value("staff")
    page.fill("#person", "p-1017")
    page.fill("#name", "Yao Ming")
    page.set_input_files("#photos", photo_path(YAOMING))
    expect(page.locator("#outcomes li")).to_have_count(1)
    page.set_input_files("#searched", photo_path(PLAYERS))
    expect(page.locator("#found li").first).to_contain_text("Found")


if __name__ == "__main__":
    main()
