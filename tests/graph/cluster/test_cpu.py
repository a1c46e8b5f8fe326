"""The processor as /proc/cpuinfo describes it on x86 and on ARM."""

import platform
from pathlib import Path

import pytest

from graph.cluster import cpu

X86 = "processor\t: 0\nmodel name\t: AMD EPYC 9B14\nflags\t\t: fpu avx2 avx512f\n\nprocessor\t: 1\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd bf16\n"


@pytest.mark.parametrize(
    ("content", "name", "features"),
    [
        (X86, "AMD EPYC 9B14", {"fpu", "avx2", "avx512f"}),
        (ARM, platform.machine(), {"fp", "asimd", "bf16"}),
        (None, platform.machine(), set()),
    ],
)
def test_name_and_features_are_those_that_linux_gives(
    content: str | None,
    name: str,
    features: set[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = tmp_path / "cpuinfo"
    if content:
        file.write_text(content)
    monkeypatch.setattr(cpu, "_CPUINFO", file)
    assert cpu.processor_name() == name
    assert cpu.processor_features() == features
