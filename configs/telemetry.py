"""Switches off what dependencies report about their use, before any of them is imported.

`configs`, `deployments` and `graph` do this when they are imported, in every process: commands,
replicas, notebooks. A dependency that was imported earlier has started its telemetry already.
"""

import os
import sys

# A variable that the user has set is left as it is.
_VARIABLES = {
    # ONNX Runtime 1.31 writes a device id and a database of events, with models' names and hashes,
    # into ~/.cache/Microsoft/DeveloperTools, and sends the events to Microsoft ten seconds later.
    # It reads the variable on import; `onnxruntime.disable_telemetry_events()` stops neither.
    "ORT_DISABLE_TELEMETRY": "1",
    # Ray 2.60 sends a report from a cluster's head every hour. For what it does in spite of "0",
    # see `without_usage_module` in graph/serve_private.py.
    "RAY_USAGE_STATS_ENABLED": "0",
    # ModelScope's client 0.5 asks the hub for a service that knows in which region of Alibaba's
    # cloud a machine is, and calls that service.
    "MODELSCOPE_DOWNLOAD_INTRA_CLOUD": "false",
}
# OpenVINO 2026.4 sends an event to Google Analytics on import, and writes a client id into ~/intel.
# Refusing takes a file in ~/intel, or `CI=true`, which other programs read too. This package does
# nothing else, and without it OpenVINO uses a stub of its own.
_OPENVINO_TELEMETRY = "openvino_telemetry"


def switch_off() -> None:
    """Set the variables, and make `openvino_telemetry` a module that is not found."""
    for name, value in _VARIABLES.items():
        os.environ.setdefault(name, value)
    # Python documents that None makes an import raise ModuleNotFoundError.
    sys.modules.setdefault(_OPENVINO_TELEMETRY, None)  # type: ignore[arg-type]
