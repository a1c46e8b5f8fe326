"""configs/grafana-dashboard.json uses metrics that exist, and labels that they have."""

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import promql_parser
import pytest

from graph.cluster.launch import RunningGraph
from graph.pipeline.metrics import METRICS
from tests.graph.pipeline.test_metrics import exported
from tests.support.photos import YAOMING, photo_bytes
from tests.support.profiles import ROOT
from tests.support.promql import SERVES_LABELS, label_names, metric_names
from tests.support.waiting import wait_until

DASHBOARD = json.loads((ROOT / "configs" / "grafana-dashboard.json").read_text())


def expressions() -> Iterator[str]:
    for panel in DASHBOARD["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))
    yield from (variable.get("definition", "") for variable in DASHBOARD["templating"]["list"])


def test_the_dashboard_shows_every_metric_of_the_graph_and_no_other() -> None:
    asked = {name for expression in expressions() for name in metric_names(expression)}
    own = {name for name in asked if name.startswith("ray_facegraph_")}
    assert own == {metric.exported_name for metric in METRICS}


@pytest.mark.parametrize("expression", [*filter(None, expressions())])
def test_prometheus_can_read_its_expressions(expression: str) -> None:
    if expression.startswith("label_values("):  # Grafana's own
        expression = expression.removeprefix("label_values(").partition(",")[0]
    promql_parser.parse(expression.replace("$__rate_interval", "5m"))


def test_it_groups_and_selects_by_labels_that_the_metric_has() -> None:
    tags = {metric.exported_name: set(metric.tags) | SERVES_LABELS for metric in METRICS}
    for expression in expressions():
        labels = label_names(expression)
        for name in metric_names(expression) & tags.keys():
            assert labels <= tags[name], expression


def test_serves_own_metrics_that_it_asks_for_are_exported(
    http: httpx.Client, running: RunningGraph
) -> None:
    http.post("/v1/embed", files={"image": photo_bytes(YAOMING)})
    asked = {name for expression in expressions() for name in metric_names(expression)}
    serves = {name for name in asked if name.startswith("ray_serve_")}
    assert serves
    wanted = {re.sub("_total$", "", name) for name in serves}

    def all_are_exported() -> bool:
        return wanted <= {re.sub("_total$", "", name) for name in exported()}

    wait_until(all_are_exported)  # Ray exports every ten seconds


def test_panels_have_places_of_their_own_and_the_variables_data_source() -> None:
    cells: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place: dict[str, Any] = panel["gridPos"]
        taken = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        assert max(x for x, _ in taken) < 24
        cells |= taken
        if panel["type"] != "row":
            assert panel["datasource"]["uid"] == "${datasource}"
            assert panel["title"]
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
