"""The former name of graph.proxy, which Serve files of deployed graphs contain.

Kept for one release.
"""

from graph.proxy import middlewares

__all__ = ["middlewares"]
