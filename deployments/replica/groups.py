"""Groups: requests that go from stage to stage together, with a slot for each."""

import pickle
from collections.abc import Sequence
from typing import Any, TypeAlias, TypeVar

from deployments.errors import FaceGraphError

Answer = TypeVar("Answer")

# One request's place in a group: its answer, or its error.
Slot: TypeAlias = Answer | FaceGraphError

# Ray keeps every argument of more than 102,400 bytes in its object store, smaller ones in the call.
_PART_BYTES = 100_000


def in_parts(requests: Sequence[Sequence[Any]]) -> list[bytes]:
    """The requests, pickled, in parts that travel in a call without the object store."""
    pickled = pickle.dumps(requests, protocol=pickle.HIGHEST_PROTOCOL)
    return [pickled[at : at + _PART_BYTES] for at in range(0, len(pickled), _PART_BYTES)]


def joined(parts: Sequence[Any]) -> Any:
    """The requests that came as `in_parts` gave them, or as one object of the object store."""
    return pickle.loads(b"".join(parts)) if isinstance(parts[0], bytes) else parts[0]


def all_or_error(slots: Sequence[Slot[Answer]]) -> Slot[list[Answer]]:
    """The answers, or the first error among them."""
    answers = list[Answer]()
    for slot in slots:
        if isinstance(slot, FaceGraphError):
            return slot
        answers.append(slot)
    return answers


def only(group: Sequence[Slot[Answer]]) -> Answer:
    """The answer of a group of one request. Raises its error."""
    [slot] = group
    if isinstance(slot, FaceGraphError):
        raise slot
    return slot
