"""Writes graph/http/examples.json: a graph's answers to the example requests of its OpenAPI page.

Run by `make examples` when the test of the description fails because answers have changed.
"""

import json
from tempfile import TemporaryDirectory
from typing import Any

import httpx

from graph.cluster.launch import own_graph
from graph.cluster.serve_file import read_serve_file
from graph.http.examples import RECORDED, request_example
from graph.http.routes import ROUTES
from tests.support import gallery_examples
from tests.support.profiles import ROOT, with_galleries
from tests.support.waiting import TIMEOUT_S

DIGITS = 4


def main() -> None:
    content = read_serve_file(ROOT / "serve_config.yaml")
    (app,) = content["applications"]
    with (
        TemporaryDirectory() as folder,
        own_graph(content | {"applications": [with_galleries(app, data_dir=folder)]}) as graph,
        httpx.Client(base_url=graph.url, timeout=TIMEOUT_S) as http,
    ):
        answers = {
            route.name: rounded(_answer(http, route))
            for route in ROUTES
            if route.gives and not route.scopes
        }
        for route, answer in gallery_examples.answers(http):
            if route.gives:
                answers[route.name] = rounded(answer.raise_for_status().json())
    RECORDED.write_text(json.dumps(answers, indent=1) + "\n")


def _answer(http: httpx.Client, route: Any) -> Any:
    if route.takes is None:
        return http.get(route.path).raise_for_status().json()
    for _ in range(3):  # the first requests are slowed by lazy loading
        answer = http.post(route.path, json=request_example(route.takes)).raise_for_status()
    return answer.json()


def rounded(part: Any) -> Any:
    """The same JSON with rounded numbers."""
    if isinstance(part, dict):
        return {name: rounded(value) for name, value in part.items()}
    if isinstance(part, list):
        return [rounded(value) for value in part]
    return round(part, DIGITS) if isinstance(part, float) else part


if __name__ == "__main__":
    main()
