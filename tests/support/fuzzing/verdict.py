"""Checks of an answer against the API's contract."""

import json

import httpx

from graph.schemas import ErrorResponse
from tests.support.errors import STATUS

# A body that stalls is given up by its deadline; nothing else of a client's making is a 5xx.
SLOW = "deadline_exceeded"


def code_of(answer: httpx.Response) -> str:
    """The error's code, or `ok`; raises ValueError or AssertionError on what no answer may be."""
    if answer.status_code == 200:
        json.loads(answer.content)
        return "ok"
    error = ErrorResponse.model_validate_json(answer.content)
    assert error.request_id == answer.headers["x-request-id"]
    assert STATUS[error.error.code] == answer.status_code
    return error.error.code


def is_wrong(code: str, *, slow: bool = False) -> bool:
    return STATUS.get(code, 200) >= 500 and not (slow and code == SLOW)
