"""The former name of graph.proxy, kept for one release for Serve files that contain it."""

from graph.proxy import middlewares

__all__ = ["middlewares"]
