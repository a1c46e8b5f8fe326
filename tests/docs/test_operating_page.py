"""docs/operating.md: its table of limits is the code's."""

from configs.calls import CallsConfig
from configs.limits import ImageLimits, RequestLimits
from tests.support.profiles import ROOT

PAGE = (ROOT / "docs" / "operating.md").read_text()


def test_the_limits_are_the_defaults() -> None:
    mebi = 1024 * 1024
    shown = {
        "image_limits.max_bytes": f"{ImageLimits().max_bytes // mebi} MiB",
        "image_limits.max_pixels": f"{ImageLimits().max_pixels:,}",
        "request_limits.max_bytes": f"{RequestLimits().max_bytes // mebi} MiB",
        "request_limits.timeout_s": f"{RequestLimits().timeout_s:g}",
        "request_limits.body_timeout_s": f"{RequestLimits().body_timeout_s:g}",
        "request_limits.max_concurrent": f"{RequestLimits().max_concurrent}",
        "request_limits.max_queue_wait_s": f"{RequestLimits().max_queue_wait_s:g}",
        "request_limits.max_bytes_in_flight": f"{RequestLimits().max_bytes_in_flight // mebi} MiB",
        "calls.max_bytes_in_flight": f"{CallsConfig().max_bytes_in_flight // mebi} MiB",
        "image_limits.max_pixels_in_flight": f"{ImageLimits().max_pixels_in_flight:,}",
    }
    for field, value in shown.items():
        assert f"| {value} | `{field}` |" in PAGE
