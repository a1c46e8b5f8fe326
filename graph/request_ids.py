"""The id that each request carries from the client to the last stage.

Serve takes a client's `x-request-id` or makes one, and hands it on with every call from replica to
replica: its log lines and its traces name it, here and in the stages.
"""

from collections.abc import Sequence

from ray.serve import context


def current_request_id() -> str:
    """Of the request that this task works for; empty outside of one."""
    return str(context._get_serve_request_context().request_id)


def work_for(request_ids: Sequence[str]) -> None:
    """From here on this task works for all of these requests. Its calls carry their ids, separated
    by commas."""
    context._set_request_context(request_id=",".join(request_ids))
