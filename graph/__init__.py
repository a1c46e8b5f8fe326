from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graph.client.client import FaceGraph

__all__ = ["FaceGraph"]


def __getattr__(name: str) -> Any:
    """Loads the client, and Ray with it, only for who asks for it."""
    if name == "FaceGraph":
        from graph.client.client import FaceGraph

        return FaceGraph
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
