"""Checks of an answer against the API's contract."""

import json

import httpx

from graph.schemas import ErrorResponse
from tests.support.errors import STATUS


def code_of(answer: httpx.Response) -> str:
    """The error's code, or `ok`.

    Raises ValueError or AssertionError for an answer that breaks the contract.
    """
    if answer.status_code == 200:
        json.loads(answer.content)
        return "ok"
    error = ErrorResponse.model_validate_json(answer.content)
    assert error.request_id == answer.headers["x-request-id"]
    assert STATUS[error.error.code] == answer.status_code
    return error.error.code


def is_wrong(code: str, *, slow: bool = False) -> bool:
    """No request may cause a 5xx, except a body that stalls (`slow`): it runs into its deadline."""
    return STATUS.get(code, 200) >= 500 and not (slow and code == "deadline_exceeded")
