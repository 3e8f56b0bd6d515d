"""The dotted keys of all settings, what kind of value each takes, and how text becomes one."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
from pydantic import BaseModel

from bamboo_mcp.settings.sections import Settings

UNKNOWN = object()
"""What `annotation_of` gives for a key that does not exist."""

_YES = frozenset(("true", "1", "yes", "on"))
_NO = frozenset(("false", "0", "no", "off"))


def leaves(model: type[BaseModel] = Settings, prefix: str = "") -> Iterator[str]:
    """Every key that holds a value, in order; a provider's as `providers.NAME.type`."""
    for name, field in model.model_fields.items():
        key = f"{prefix}{name}"
        inner = _bare(field.annotation)
        if _is_model(inner):
            yield from leaves(inner, f"{key}.")
        elif get_origin(inner) is dict and _is_model(_bare(get_args(inner)[1])) and not prefix:
            yield from leaves(get_args(inner)[1], f"{key}.NAME.")
        else:
            yield key


def annotation_of(path: tuple[str, ...]) -> Any:
    """The type at `path`, without what only restricts it; `UNKNOWN` when there is no such key."""
    found: Any = Settings
    for part in path:
        if found is Any:
            return Any
        if _is_model(found):
            field = found.model_fields.get(part)
            if field is None:
                return UNKNOWN
            found = _bare(field.annotation)
        elif get_origin(found) is dict and part:
            found = _bare(get_args(found)[1])
        else:
            return UNKNOWN
    return found


def value_of(text: str, annotation: Any) -> Any:
    """`text` as a value of that type; as it is when it cannot be one, for the check to refuse."""
    text = text.strip()
    if is_table(annotation):
        return _json(text)
    if get_origin(annotation) is tuple:
        if text.startswith("["):
            return _json(text)
        return [part.strip() for part in text.split(",") if part.strip()]
    if annotation is bool:
        return True if text.lower() in _YES else False if text.lower() in _NO else text
    if annotation in (int, float):
        return _number(text, annotation)
    return _json(text) if annotation is Any else text


def is_table(annotation: Any) -> bool:
    return _is_model(annotation) or get_origin(annotation) is dict


def closest(key: str) -> str:
    """The key that was probably meant by an unknown one, or ""."""
    known = list(leaves()) + list(Settings.model_fields)
    if key.startswith("providers.") and key.count(".") >= 2:
        name = key.split(".")[1]
        known = [k.replace(".NAME.", f".{name}.") for k in known if k.startswith("providers.")]
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.75)
    if near:
        return near[0]
    last = key.rpartition(".")[2]
    same = [k for k in known if k.rpartition(".")[2] == last]
    return same[0] if len(same) == 1 else ""


def allowed_beside(key: str) -> tuple[str, ...]:
    """The names allowed where an unknown key stands."""
    parent = annotation_of(tuple(key.split(".")[:-1]))
    return tuple(parent.model_fields) if _is_model(parent) else ()


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Both, tables inside tables too; `above` wins."""
    result = dict(below)
    for name, value in above.items():
        known = result.get(name)
        if isinstance(known, Mapping) and isinstance(value, Mapping):
            result[name] = merged(known, value)
        else:
            result[name] = value
    return result


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and their values; an empty table stands for itself."""
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _bare(annotation: Any) -> Any:
    if get_origin(annotation) is Annotated:
        return _bare(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        rest = [one for one in get_args(annotation) if one is not NoneType]
        return _bare(rest[0]) if len(rest) == 1 else annotation
    if get_origin(annotation) is Literal:
        return str
    return annotation


def _number(text: str, kind: type) -> Any:
    try:
        return int(text) if kind is int else float(text)
    except ValueError:
        return text


def _json(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text
