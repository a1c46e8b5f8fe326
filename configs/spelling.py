"""Suggestions for misspelt names."""

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """` (did you mean 'max_side'?)` for the known name that is closest, or an empty text."""
    close = get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def unknown_key(key: str, known: Iterable[str]) -> str:
    """The fault of an unknown key: with the closest known key, or else with all of them."""
    names = list(known)
    return "unknown key" + (did_you_mean(key, names) or f"; the known ones are {', '.join(names)}")
