"""Name and features of this machine's processor, from Linux's /proc/cpuinfo."""

import platform
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")


def processor_name() -> str:
    """The model's name; the machine type, such as `aarch64`, if Linux does not give one."""
    names = _values("model name")
    return names[0] if names else platform.machine()


def processor_features() -> frozenset[str]:
    """The instruction-set features in Linux's spelling, such as `avx2`; empty if unknown."""
    return frozenset(
        word for line in (*_values("flags"), *_values("Features")) for word in line.split()
    )


def _values(key: str) -> list[str]:
    try:
        pairs = [line.partition(":") for line in _CPUINFO.read_text().splitlines()]
    except OSError:
        return []
    return [value.strip() for name, _, value in pairs if name.strip() == key]
