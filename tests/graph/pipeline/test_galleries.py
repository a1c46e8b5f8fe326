"""Galleries in a graph without them, and the pieces of an import."""

import asyncio
from typing import Any, cast

import pytest

from configs.graph import GraphConfig
from deployments.errors import GalleriesDisabled
from graph.gallery_schemas import GalleriesOptions, GalleryOptions, ImportRequest
from graph.pipeline import galleries
from graph.pipeline.galleries import Galleries


def test_a_graph_without_galleries_says_how_to_switch_them_on() -> None:
    without = Galleries(GraphConfig(), cast("Any", None), None)
    calls = (
        lambda: without.list_galleries(GalleriesOptions(), key="phone"),
        lambda: without.delete_gallery(GalleryOptions(gallery="staff"), key="phone"),
        lambda: without.export_gallery(GalleryOptions(gallery="staff"), key="phone"),
        lambda: without.import_lines(ImportRequest(gallery="staff", lines=b"{}"), key="phone"),
    )
    for call in calls:
        with pytest.raises(GalleriesDisabled, match=r"gallery: \{enabled: true\}"):
            asyncio.run(cast("Any", call()))


@pytest.mark.parametrize(
    ("lines", "pieces"),
    [
        (b"", []),
        (b"1234567\n", [b"1234567\n"]),
        (b"12\n34\n56\n", [b"12\n34\n", b"56\n"]),
        (b"12\n34", [b"12\n", b"34"]),
        (b"1234567890\n12\n", [b"1234567890\n", b"12\n"]),
        (b"12\n1234567890", [b"12\n", b"1234567890"]),
    ],
)
def test_an_import_is_cut_between_lines(
    monkeypatch: pytest.MonkeyPatch, lines: bytes, pieces: list[bytes]
) -> None:
    monkeypatch.setattr(galleries, "_IMPORTED_AT_A_TIME", 8)
    assert galleries._pieces(lines) == pieces
