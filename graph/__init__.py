"""FaceGraph's package. It imports `FaceGraph` on first use: most modules need no client."""

from typing import TYPE_CHECKING, Any

import configs  # noqa: F401  (switches telemetry off before anything else is imported)

if TYPE_CHECKING:
    from graph.client.client import FaceGraph

__all__ = ["FaceGraph"]


def __getattr__(name: str) -> Any:
    if name == "FaceGraph":
        from graph.client.client import FaceGraph

        return FaceGraph
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
