import configs  # noqa: F401  (switches telemetry off before anything else is imported)
