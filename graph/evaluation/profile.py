"""Writes suggested settings of recognizers into the text of a Serve config, and changes nothing
else in it.

A YAML library that writes the file anew changes its layout: ruamel.yaml, which keeps comments,
sets its own indentation and joins wrapped lines, in this project's own profiles too. Here only the
characters between two marks of the parser are replaced.
"""

from collections.abc import Mapping
from typing import Any, Literal

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode

from deployments.errors import InvalidConfig, InvalidRequest
from graph.evaluation.figures import Suggestion
from graph.evaluation.quality import RULE_OF_3, QualitySuggestion

# A recognizer's setting that an evaluation suggests.
Setting = Literal["threshold", "min_quality"]


class NotMeasurable(InvalidRequest):
    """A setting was requested for a FAR that these pairs cannot measure."""


def thresholds_of(suggestions: Mapping[str, Suggestion]) -> dict[str, float]:
    """The suggested thresholds by pool. Raises NotMeasurable with too few impostor pairs for the
    wanted FAR, as no observation supports such a threshold, and if no threshold reaches it."""
    for pool, suggestion in suggestions.items():
        if not suggestion.reached:
            raise NotMeasurable(
                f"{pool}: no threshold reaches a FAR of {suggestion.wanted_far:g}: impostor pairs"
                " have a cosine of 1; the profile is not written"
            )
        if not suggestion.measurable:
            raise NotMeasurable(
                f"{pool}: a FAR of {suggestion.wanted_far:g} takes at least"
                f" {round(1 / suggestion.wanted_far)} impostor pairs; the profile is not written"
            )
    return {pool: suggestion.threshold for pool, suggestion in suggestions.items()}


def min_qualities_of(suggestions: Mapping[str, QualitySuggestion | None]) -> dict[str, float]:
    """The suggested `min_quality` by pool. Raises NotMeasurable for a pool without qualities, with
    too few impostor pairs left for the wanted FAR, and if no limit reaches it."""
    limits = {}
    for pool, suggestion in suggestions.items():
        if suggestion is None:
            raise NotMeasurable(f"{pool}: its faces have no quality; the profile is not written")
        if not suggestion.reached:
            raise NotMeasurable(
                f"{pool}: no min_quality reaches a FAR of {suggestion.wanted_far:g} at the"
                f" threshold {suggestion.threshold:g}; the profile is not written"
            )
        if not suggestion.measurable:
            raise NotMeasurable(
                f"{pool}: a min_quality for a FAR of {suggestion.wanted_far:g} takes at least"
                f" {round(RULE_OF_3 / suggestion.wanted_far)} impostor pairs that it leaves, not"
                f" {suggestion.impostor_pairs}; the profile is not written"
            )
        limits[pool] = suggestion.min_quality
    return limits


def with_values(text: str, setting: Setting, values: Mapping[str, float]) -> str:
    """The Serve config `text` with these values of a setting, by pool.

    Raises InvalidConfig for a pool that is not a mapping in any application of the file.
    """
    for pool, value in values.items():
        text = _with_value(text, pool, setting, f"{value:.4f}")
    return text


def yaml_lines(thresholds: Mapping[str, float]) -> str:
    """The lines that set these thresholds in a profile."""
    lines = ["recognizers:"]
    for pool, threshold in thresholds.items():
        lines += [f"  {pool}:", f"    threshold: {threshold:.4f}"]
    return "\n".join(lines)


def _with_value(text: str, pool: str, setting: Setting, value: str) -> str:
    settings = _pool_settings(text, pool)
    present = _entry(settings, setting)
    if present is not None:
        return _replaced(text, present[1], value)
    if settings.flow_style:
        inside = settings.start_mark.index + 1  # after the brace
        comma = ", " if settings.value else ""
        return text[:inside] + f"{setting}: {value}{comma}" + text[inside:]
    first = settings.value[0][0].start_mark
    line = f"{setting}: {value}\n{' ' * first.column}"
    return text[: first.index] + line + text[first.index :]


def _replaced(text: str, node: Node, value: str) -> str:
    return text[: node.start_mark.index] + value + text[node.end_mark.index :]


def _pool_settings(text: str, pool: str) -> MappingNode:
    applications = _entry(yaml.compose(text, Loader=yaml.SafeLoader), "applications")
    items = applications[1].value if applications else []
    for application in items if isinstance(items, list) else []:
        node: Any = application
        for key in ("args", "recognizers", pool):
            entry = _entry(node, key)
            node = entry[1] if entry else None
        if isinstance(node, MappingNode):
            return node
    raise InvalidConfig(
        f"recognizers.{pool}: not a mapping in this file; write one, then try again"
    )


def _entry(node: Any, key: str) -> tuple[ScalarNode, Node] | None:
    if not isinstance(node, MappingNode):
        return None
    for name, value in node.value:
        if isinstance(name, ScalarNode) and name.value == key:
            return name, value
    return None
