"""The page docs/configuration.md, made from the typed configuration."""

import types
from collections.abc import Iterator, Mapping
from inspect import getdoc, getmembers, isfunction
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from configs import environment
from configs.graph import GraphConfig
from configs.model import BatchingConfig

_HEAD = """# Configuration

The `args` of the FaceGraph application in a Serve config file, such as `serve_config.yaml`. Every
field is checked before anything starts; an unknown name or a value out of bounds is an error that
names the field. `facegraph config check FILE` finds them all, `facegraph config show FILE` prints
the values that take effect.

This page is made from the code (`make docs`): change a field's description in `configs/`.
"""
_USER_CONFIG = """## user_config

The `Detector`, each `Recognizer:<name>` and each `Classifier:<name>` under `deployments` take it. A
change restarts nothing.
"""
_COMMANDS_VARIABLES = (
    "`FACEGRAPH_URL`: the server that commands call, where `--url` is left out.",
    "`FACEGRAPH_API_KEY`: the API key that commands send, where `--api-key` is left out.",
)
_MAPPINGS = (dict, Mapping)
_BOUNDS = {
    annotated_types.Ge: ("ge", "at least"),
    annotated_types.Gt: ("gt", "over"),
    annotated_types.Le: ("le", "at most"),
    annotated_types.Lt: ("lt", "under"),
    annotated_types.MinLen: ("min_length", "entries: at least"),
    annotated_types.MaxLen: ("max_length", "entries: at most"),
}


def reference_page() -> str:
    """The page in Markdown: a section for each configuration model, in the code's order."""
    sections = [_section(path, model) for path, model in _models(GraphConfig, "")]
    batching = f"{_USER_CONFIG}\n{_table(BatchingConfig, '')}"
    return "\n".join([_HEAD, *sections, batching, _variables()])


def _variables() -> str:
    """The section of environment variables, from the docstrings of configs/environment.py."""
    readers = [reader for _, reader in getmembers(environment, isfunction)]
    texts = [" ".join((getdoc(reader) or "").split()) for reader in readers]
    texts = [text for text in texts if text.startswith("`FACEGRAPH_")]
    listed = "".join(f"- {text}\n" for text in (*texts, *_COMMANDS_VARIABLES))
    return f"## Environment variables\n\n{listed}"


def _models(model: type[BaseModel], path: str) -> Iterator[tuple[str, type[BaseModel]]]:
    """The model and the models inside it, each with its path; outer models come first."""
    yield path, model
    for name, field in model.model_fields.items():
        inner = _model_in(field.annotation)
        if inner and not field.exclude:
            named = get_origin(field.annotation) in _MAPPINGS
            yield from _models(inner, _join(path, f"{name}.<name>" if named else name))


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for item in get_args(annotation) if (found := _model_in(item))), None)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _section(path: str, model: type[BaseModel]) -> str:
    title = f"## `{path}`" if path else "## Overview"
    words = (model.__doc__ or "").strip().partition("\n")[0]
    own = "" if not words or words.startswith("!!!") else f"{words}\n\n"
    return f"{title}\n\n{own}{_table(model, path)}"


def _table(model: type[BaseModel], path: str) -> str:
    rows = [
        _row(_join(path, name), field)
        for name, field in model.model_fields.items()
        if not field.exclude
    ]
    head = "| field | type | default | bounds | what it is |\n|---|---|---|---|---|\n"
    return head + "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _row(path: str, field: FieldInfo) -> tuple[str, ...]:
    description = _escaped(field.description) if field.description else _link(path, field)
    return f"`{path}`", _type(field.annotation), _default(field), _bounds(field), description


def _escaped(text: str) -> str:
    return text.replace("<", "&lt;").replace("|", "\\|")


def _link(path: str, field: FieldInfo) -> str:
    inner = _model_in(field.annotation)
    assert inner, f"{path} has no description"
    anchor = path.replace(".", "").replace("<", "").replace(">", "")
    return f"[below](#{anchor})"


def _type(annotation: Any) -> str:
    origin, items = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(items[0])
    if origin is Literal:
        return ", ".join(f"`{item}`" for item in items)
    if origin in (Union, types.UnionType):
        return " or ".join(_type(item) for item in items)
    if origin in (tuple, list):
        return f"list of {_type(items[0])}"
    if origin in _MAPPINGS:
        return f"mapping of names to {_type(items[1])}"
    if annotation is types.NoneType:
        return "null"
    return _name(annotation)


def _name(kind: type[Any]) -> str:
    if issubclass(kind, BaseModel):
        return "mapping"
    names = {str: "text", Path: "path", SecretStr: "text", bool: "true or false"}
    return names.get(kind, kind.__name__)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    return "its fields' own" if isinstance(value, BaseModel) else f"`{_shown(value)}`"


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, BaseModel):
        return "{}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_shown(item)}" for key, item in value.items()) + "}"
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_shown, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


def _bounds(field: FieldInfo) -> str:
    inner = (item for kind in get_args(field.annotation) for item in _extra(kind))
    return ", ".join(
        f"{text} {getattr(item, attribute)}"
        for item in (*field.metadata, *inner)
        for kind, (attribute, text) in _BOUNDS.items()
        if isinstance(item, kind)
    )


def _extra(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()
