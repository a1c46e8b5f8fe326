"""FaceGraph's package: `from graph import FaceGraph` loads the client, and nothing else does."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graph.client.client import FaceGraph

__all__ = ["FaceGraph"]


def __getattr__(name: str) -> Any:
    if name == "FaceGraph":
        from graph.client.client import FaceGraph

        return FaceGraph
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
