"""docs/http.md: its tables are the code's."""

import re

import pytest

from configs.limits import ImageLimits, RequestLimits
from graph.http.routes import ROUTES, ApiRoute
from tests.support.errors import STATUS
from tests.support.profiles import ROOT

PAGE = (ROOT / "docs" / "http.md").read_text()


def test_the_table_of_errors_is_the_codes() -> None:
    rows = re.findall(r"^\| (\d{3}) \| `(\w+)` \|", PAGE, re.MULTILINE)
    assert {code: int(status) for status, code in rows} == STATUS


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.path)
def test_every_route_is_in_the_table(route: ApiRoute) -> None:
    assert f"`{route.method} {route.path.replace('{name}', 'NAME')}`" in PAGE


def test_the_limits_are_the_defaults() -> None:
    mebi = 1024 * 1024
    shown = {
        "image_limits.max_bytes": f"{ImageLimits().max_bytes // mebi} MiB",
        "image_limits.max_pixels": f"{ImageLimits().max_pixels:,}",
        "request_limits.max_bytes": f"{RequestLimits().max_bytes // mebi} MiB",
        "request_limits.timeout_s": f"{RequestLimits().timeout_s:g}",
        "request_limits.body_timeout_s": f"{RequestLimits().body_timeout_s:g}",
        "request_limits.max_concurrent": f"{RequestLimits().max_concurrent}",
    }
    for field, value in shown.items():
        assert f"| {value} | `{field}` |" in PAGE
