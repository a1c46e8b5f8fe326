"""Actions of a visitor on the demo page, and the figures that it shows."""

import base64
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from playwright.sync_api import Page, expect

from deployments.contracts import ByteArray

# The examples' buttons: a portrait and a team, a portrait and a group, two groups.
TEAM = "[data-pair='yaoming.jpg players.jpg']"
GROUP = "[data-pair='yaoming.jpg gdp.jpg']"
GROUPS = "[data-pair='gdp.jpg players.jpg']"

_PASTE = """data => document.activeElement.dispatchEvent(
  new ClipboardEvent("paste", { clipboardData: data, bubbles: true }))"""
_DATA = """files => {
  const data = new DataTransfer();
  for (const { name, content } of files) {
    const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
    data.items.add(new File([bytes], name, { type: "image/jpeg" }));
  }
  return data;
}"""


def drop(page: Page, files: Mapping[str, bytes], on: str = "#slot-source") -> None:
    """Drop files, by name, on an element."""
    page.locator(on).dispatch_event("drop", {"dataTransfer": transfer(page, files)})


def paste(page: Page, files: Mapping[str, bytes]) -> None:
    page.evaluate(_PASTE, transfer(page, files))


def transfer(page: Page, files: Mapping[str, bytes]) -> Any:
    encoded = [
        {"name": name, "content": base64.b64encode(content).decode()}
        for name, content in files.items()
    ]
    return page.evaluate_handle(_DATA, encoded)


def choose(page: Page, slot: str, name: str, content: bytes) -> None:
    photo: Any = {"name": name, "mimeType": "image/jpeg", "buffer": content}
    page.set_input_files(f"#file-{slot}", photo)


def similarity(page: Page) -> float:
    """The similarity that the page shows; waits for it."""
    expect(page.locator("#result")).to_be_visible()
    return as_number(page.inner_text("#similarity"))


def as_number(text: str) -> float:
    return float(text.replace("\N{MINUS SIGN}", "-"))


def shown_matches(page: Page) -> list[float]:
    return [as_number(text) for text in page.locator("#matches button span").all_inner_texts()]


def canvas(page: Page, selector: str) -> ByteArray:
    """uint8 [112,112,3] BGR."""
    url = page.locator(selector).evaluate("canvas => canvas.toDataURL()")
    content = np.frombuffer(base64.b64decode(url.partition(",")[2]), np.uint8)
    return np.asarray(cv2.imdecode(content, cv2.IMREAD_COLOR), np.uint8)
