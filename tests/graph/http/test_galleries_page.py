"""The page of galleries in a browser: a person is enrolled, found and deleted."""

from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.graph.http.test_page_layout import check_accessible
from tests.support.demo_page import drop
from tests.support.photos import GDP, YAOMING, photo_bytes


def photo_file(name: str) -> Any:
    return {"name": name, "mimeType": "image/jpeg", "buffer": photo_bytes(name)}


def test_a_person_is_enrolled_found_and_deleted(
    page: Page, http: httpx.Client, seen: dict[str, list[str]]
) -> None:
    http.delete("/v1/galleries/page").raise_for_status()
    page.goto("/galleries")
    page.fill("#new-gallery", "page")
    page.click("#create button:not([type])")
    expect(page.locator("#gallery")).to_have_value("page")
    page.fill("#person", "p-1")
    page.fill("#name", "Yao Ming")
    page.set_input_files("#photos", [photo_file(YAOMING), photo_file(GDP)])
    outcomes = page.locator("#outcomes li")
    expect(outcomes.nth(0)).to_have_text("yaoming.jpg: enrolled")
    expect(outcomes.nth(1)).to_contain_text("gdp.jpg: refused")
    expect(page.locator("#persons tr")).to_have_text(["p-1Yao Ming1Delete"])

    drop(page, {"a.jpg": photo_bytes(YAOMING)}, on="#found")
    found = page.locator("#found li")
    expect(found).to_have_count(1)
    expect(found).to_contain_text("Found")
    expect(found).to_contain_text("Yao Ming (p-1)1.000")
    check_accessible(page)

    page.once("dialog", lambda dialog: dialog.accept())
    page.click("#persons button")
    expect(page.locator("#status")).to_have_text("p-1 is deleted, from the disk too.")
    expect(page.locator("#persons tr")).to_have_count(0)
    assert not http.get("/v1/galleries/page/persons").json()["persons"]
    assert not seen["errors"]

    # A person whom another client has added since the list was read.
    http.post("/v1/galleries/page/persons", json={"id": "p-2", "name": "Mu"}).raise_for_status()
    page.fill("#person", "p-2")
    page.fill("#name", "")
    page.set_input_files("#photos", [photo_file(YAOMING) | {"buffer": b"no photo"}])
    expect(outcomes).to_have_count(1)
    expect(outcomes).to_contain_text("yaoming.jpg: refused")
    expect(page.locator("#persons tr")).to_have_text(["p-2Mu0Delete"])

    # A key that may search, and not list persons.
    refused = {"error": {"code": "forbidden", "message": "", "details": {}}, "request_id": "1"}
    page.route("**/persons?*", lambda route: route.fulfill(status=403, json=refused))
    page.reload()
    expect(page.locator("#parts")).to_be_visible()
    drop(page, {"a.jpg": photo_bytes(YAOMING)}, on="#found")
    expect(found).to_have_count(1)
    expect(page.locator("#persons tr")).to_have_count(0)
    http.delete("/v1/galleries/page").raise_for_status()


@pytest.mark.parametrize("page", [{"locale": "zh-CN"}], indirect=True)
def test_the_page_is_in_chinese_too(page: Page) -> None:
    page.goto("/galleries")
    expect(page.locator("#gallery-title")).to_have_text("人脸库")
