"""Ray's runtime environments in a Serve config file, of which Ray drops unknown keys."""

from collections.abc import Iterator
from typing import Any

from ray.runtime_env import RuntimeEnv

_KEY = "runtime_env"


def environment_faults(value: Any, where: str = "") -> Iterator[str]:
    """Faults of every `runtime_env` anywhere below, but for what the graph's own `args` hold."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from environment_faults(item, f"{where}[{index}]")
    if not isinstance(value, dict):
        return
    for key, item in value.items():
        path = f"{where}.{key}" if where else str(key)
        if key == _KEY and isinstance(item, dict):
            yield from _faults(item, path)
        elif key != "args":
            yield from environment_faults(item, path)


def _faults(environment: dict[str, Any], where: str) -> Iterator[str]:
    known = {field for field in RuntimeEnv.known_fields if not field.startswith("_")}
    unknown = [key for key in environment if key not in known]
    for key in unknown:
        yield f"{where}.{key}: unknown key; a runtime_env takes {', '.join(sorted(known))}"
    try:
        RuntimeEnv(**{key: item for key, item in environment.items() if key in known})
    except (TypeError, ValueError) as error:
        yield f"{where}: {error}"
