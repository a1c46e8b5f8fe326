"""Files of service times."""

from pathlib import Path

import pytest

from deployments.errors import InvalidConfig
from graph.cluster.service_times import read_service_times


@pytest.mark.parametrize(
    ("content", "fault"),
    [("{", "Invalid JSON"), ("{}", "measured_on"), (None, "No such file")],
)
def test_a_file_of_times_that_is_wrong_is_named(
    tmp_path: Path, content: str | None, fault: str
) -> None:
    file = tmp_path / "times.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(InvalidConfig, match=fault) as caught:
        read_service_times(file)
    assert caught.value.message.startswith(f"{file}: ")
