"""Who may call: API keys, known to the server by their SHA-256 alone."""

import hmac
from hashlib import sha256

from starlette.requests import Request

from configs.graph import GraphConfig
from deployments.errors import Unauthorized


def require_key(request: Request, config: GraphConfig) -> None:
    """Raises Unauthorized unless the request carries a known key (or none is configured).

    Taken from `Authorization: Bearer KEY` or `X-API-Key: KEY`.
    """
    if not config.api_keys:
        return
    digest = sha256(_presented_key(request).encode()).hexdigest()
    # Every key is compared, so that the time taken tells nothing about which came close.
    known = [
        hmac.compare_digest(digest, expected.get_secret_value())
        for expected in config.api_keys.values()
    ]
    if not any(known):
        raise Unauthorized("an API key is required: Authorization: Bearer KEY, or X-API-Key: KEY")


def _presented_key(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return token.strip()
    return request.headers.get("x-api-key", "")
