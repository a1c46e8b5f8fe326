"""The system's Chromium, headless, for the pages that the ingress serves."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, BrowserType, expect, sync_playwright

from tests.support.waiting import TIMEOUT_S

# The headless shell draws a page with a third of the others' work.
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


class NoBrowser(RuntimeError):
    """There is no Chromium on this machine."""


@contextmanager
def chromium(*, webcam: Path | None = None) -> Iterator[Browser]:
    """A headless Chromium. webcam: an MJPEG file in place of a camera; None: there is no camera."""
    with sync_playwright() as playwright, launched(playwright.chromium, webcam=webcam) as browser:
        yield browser


@contextmanager
def launched(kind: BrowserType, *, webcam: Path | None = None) -> Iterator[Browser]:
    """A Chromium beside another one of the same Playwright."""
    found = [path for path in map(shutil.which, NAMES) if path]
    if not found:
        raise NoBrowser("the pages are tested in Chromium: apt-get install chromium-headless-shell")
    if webcam:
        cameras = [
            "--use-fake-device-for-media-stream",
            f"--use-file-for-fake-video-capture={webcam}",
        ]
    else:
        cameras = ["--use-fake-device-for-media-stream=device-count=0"]
    arguments = [*FLAGS, "--use-fake-ui-for-media-stream", *cameras]
    expect.set_options(timeout=1000 * TIMEOUT_S)
    browser = kind.launch(executable_path=found[0], args=arguments)
    try:
        yield browser
    finally:
        browser.close()
