"""A graph for the time of one command: one that runs somewhere, or a private one."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console

from graph.client import FaceGraph

DEFAULT_FILE = Path("serve_config.yaml")
err = Console(stderr=True, soft_wrap=True, highlight=False)


@contextmanager
def open_graph(
    url: str | None = None, *, api_key: str | None = None, file: Path = DEFAULT_FILE
) -> Iterator[FaceGraph]:
    """A client of the server at `url`; without one, of a graph that is started from the Serve
    config `file` on a Ray cluster of its own, which takes some 15 s, and ended afterwards.

    Raises as `FaceGraph.over_http` does; InvalidConfig for a file that is wrong, LaunchFailed where
    the graph does not start.
    """
    if url:
        with FaceGraph.over_http(url, api_key) as graph:
            yield graph
        return
    # Loads Ray, which a client of a server does without.
    from graph.launch import own_graph
    from graph.serve_file import graph_application, read_serve_file

    content = read_serve_file(file)
    app_name = graph_application(content).get("name", "default")
    with ExitStack() as stack:
        with err.status(f"Starting a private graph of {file} ..."):
            running = stack.enter_context(own_graph(content))
        yield FaceGraph.connect(app_name, address=running.address)
