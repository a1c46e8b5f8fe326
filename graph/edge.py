"""The former name of graph.proxy, kept for one release: deployed Serve files name it."""

from graph.proxy import middlewares

__all__ = ["middlewares"]
