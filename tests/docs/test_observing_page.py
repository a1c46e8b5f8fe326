"""docs/observing.md says of the metrics what the code does."""

import re

from graph.pipeline.metrics import METRICS
from tests.support.profiles import ROOT

PAGE = (ROOT / "docs" / "observing.md").read_text()


def test_the_table_lists_every_metric_as_it_is_defined() -> None:
    rows = re.findall(r"^\| `(ray_facegraph_\w+)` \| (\w+) \| (.+?) \| (.+) \|$", PAGE, re.M)
    listed = [(name, kind, re.findall(r"`(\w+)`", tags), text) for name, kind, tags, text in rows]
    assert listed == [
        (
            metric.exported_name,
            metric.kind,
            list(metric.tags),
            metric.description,
        )
        for metric in METRICS
    ]


def test_every_metric_that_the_page_speaks_of_is_one_of_them() -> None:
    names = {
        re.sub("_(bucket|count|sum)$", "", name) for name in re.findall(r"ray_facegraph_\w+", PAGE)
    }
    assert names == {metric.exported_name for metric in METRICS}
