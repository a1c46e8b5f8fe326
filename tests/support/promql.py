"""Metrics and labels that a PromQL expression names."""

import re

# Labels that Serve adds to every metric.
SERVES_LABELS = {"application", "deployment", "replica", "le"}


def metric_names(expression: str) -> set[str]:
    """The metrics; a histogram without the suffix of its series."""
    found = re.findall(r"\bray_\w+", expression)
    return {re.sub(r"_(bucket|count|sum)$", "", name) for name in found}


def label_names(expression: str) -> set[str]:
    groups = [group.split(", ") for group in re.findall(r"by \(([^)]*)\)", expression)]
    return {label for group in groups for label in group} | set(re.findall(r"(\w+)=", expression))
