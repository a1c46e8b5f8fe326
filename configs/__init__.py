"""The typed configuration. The first import of it switches the dependencies' telemetry off."""

from configs.telemetry import switch_off

switch_off()
