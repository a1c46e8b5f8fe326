"""File names as text for tables, JSON and terminals: valid UTF-8, on one line."""

import os
import re

# A backslash, which starts an escape; control characters; bytes that are not UTF-8.
_ESCAPED = re.compile(r"[\\\x00-\x1f\x7f-\x9f\udc80-\udcff]")
_ESCAPE = re.compile(rb"\\x([0-9a-f]{2})")


def text_of(path: str | bytes | os.PathLike[str]) -> str:
    r"""Return a path as text, which `path_of` maps back.

    The text is the path, except that `\xNN` stands for each byte of a backslash, of a control
    character, and of what is not UTF-8. It is the same in every locale.
    """
    return _ESCAPED.sub(_escaped, os.fsencode(path).decode("utf-8", "surrogateescape"))


def path_of(text: str) -> str:
    """Return the path that `text_of` made the text of, for this process's locale."""
    content = _ESCAPE.sub(lambda escape: bytes.fromhex(escape[1].decode()), text.encode())
    return os.fsdecode(content)


def _escaped(character: re.Match[str]) -> str:
    return "".join(f"\\x{byte:02x}" for byte in character[0].encode("utf-8", "surrogateescape"))
