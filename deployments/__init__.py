"""The stages: pure compute, and Ray's deployments."""

import configs  # noqa: F401  (switches telemetry off before anything else is imported)
