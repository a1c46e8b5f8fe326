"""File names as text."""

import os

import pytest

from graph.batch.names import path_of, text_of


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (b"below/a b.jpg", "below/a b.jpg"),
        ("Zoë 😀.jpg".encode(), "Zoë 😀.jpg"),
        (b"caf\xe9.jpg", r"caf\xe9.jpg"),
        (b"caf\\xe9.jpg", r"caf\x5cxe9.jpg"),
        (b"a\nb\x1b[31m\x7f", r"a\x0ab\x1b[31m\x7f"),
        (b"\xc2\x9b", r"\xc2\x9b"),  # a control character of two bytes
        (b"\xed\xa0\x80", r"\xed\xa0\x80"),  # a surrogate, which UTF-8 does not have
    ],
)
def test_a_name_is_text_that_maps_back_to_it(name: bytes, text: str) -> None:
    assert text_of(name) == text_of(os.fsdecode(name)) == text
    assert os.fsencode(path_of(text)) == name


def test_every_byte_maps_back() -> None:
    name = bytes(range(1, 256)) + "éß😀".encode()
    text = text_of(name)
    assert "\n" not in text
    assert text.encode().decode() == text
    assert os.fsencode(path_of(text)) == name
