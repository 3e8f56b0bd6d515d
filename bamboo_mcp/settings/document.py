"""Settings as TOML: the file to begin with, and what is in force with its sources."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from pydantic import BaseModel

from bamboo_mcp.settings.sections import Settings

HEAD = """\
# Settings of bamboo-mcp. A line that begins with "#name =" shows a default: take the # away and
# change it. Environment variables win over this file, flags over both:
#   models.primary is BAMBOO_MODELS__PRIMARY, or BAMBOO_MODEL for short, and --model.
# `bamboo-mcp config show` tells which values are in force and where each was said.
"""

PROVIDER_EXAMPLES = """\
# [providers.NAME]: NAME is what you write before the colon of a model. Keys stay out of this file:
# "env:NAME" is an environment variable, "file:PATH" a file that holds the key and nothing else,
# "keyring:SERVICE/NAME" an entry of the system's keyring, "cmd:PROGRAM ARGUMENT..." what a command
# writes (no shell; quotes as in one, so write paths of Windows in 'single quotes').
#[providers.anthropic]
#api_key = "env:ANTHROPIC_API_KEY"

# Another address for the same kind of service, as "work:claude-opus-5-5":
#[providers.work]
#type = "anthropic"
#base_url = "https://llm.example.com"
#api_key = "file:~/.secrets/work-key"
"""

HIDDEN = "***"
_SECRET_NAME = re.compile(r"key|token|secret|passw|auth|cookie|credential", re.IGNORECASE)
_REFERENCE = re.compile(r"(env|file):\S+|(keyring|cmd):.+")
_BARE = re.compile(r"[A-Za-z0-9_-]+")


def template() -> str:
    """A settings file that changes nothing: every key, commented out, with its default."""
    parts = [HEAD]
    for name, field in Settings.model_fields.items():
        section = field.annotation
        if name == "providers":
            parts.append(PROVIDER_EXAMPLES)
        elif isinstance(section, type) and issubclass(section, BaseModel):
            parts.append(_template_section(name, section))
        else:
            parts.append("\n".join(_template_key(name, field)) + "\n")
    return "\n".join(parts)


def _template_section(name: str, section: type[BaseModel]) -> str:
    lines = [f"# {line}" for line in (section.__doc__ or "").strip().splitlines()]
    lines.append(f"[{name}]")
    inside = []
    for key, field in section.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            inside.append(_template_section(f"{name}.{key}", inner))
        else:
            lines += _template_key(key, field)
    return "\n".join(["\n".join(lines) + "\n", *inside])


def _template_key(key: str, field: Any) -> Iterator[str]:
    default = field.get_default(call_default_factory=True)
    if default is None:
        default = field.examples[0]
    yield f"# {field.description}"
    yield f"#{key} = {toml(default)}"


def in_force(settings: Settings) -> str:
    """The settings as TOML that could be loaded again, each with where it was said as a comment.

    What may be a secret is hidden; references to secrets are shown.
    """
    lines = _keys(settings, settings, "")
    for prefix, section in _sections(settings, ""):
        lines += ["", f"[{prefix.removesuffix('.')}]", *_keys(settings, section, prefix)]
    for name, provider in settings.providers.items():
        lines += ["", f"[providers.{_name(name)}]"]
        lines += _keys(settings, provider, f"providers.{name}.")
    return "\n".join(lines) + "\n"


def in_force_json(settings: Settings) -> Mapping[str, Mapping[str, Any]]:
    """Dotted key to its value and source; the same is hidden as in `in_force`."""
    found: dict[str, Mapping[str, Any]] = {}
    for prefix, model in _models(settings):
        for name, value in model:
            if not isinstance(value, BaseModel) and f"{prefix}{name}" != "providers":
                key = f"{prefix}{name}"
                found[key] = {"value": plain(value, name), "source": settings.source_of(key)}
    return found


def _models(settings: Settings) -> Iterator[tuple[str, BaseModel]]:
    yield "", settings
    yield from _sections(settings, "")
    for name, provider in settings.providers.items():
        yield f"providers.{name}.", provider


def _sections(model: BaseModel, prefix: str) -> Iterator[tuple[str, BaseModel]]:
    """The sections in `model`, each before those inside it."""
    for name, value in model:
        if isinstance(value, BaseModel):
            yield f"{prefix}{name}.", value
            yield from _sections(value, f"{prefix}{name}.")


def _keys(settings: Settings, model: BaseModel, prefix: str) -> list[str]:
    lines: list[str] = []
    for name, value in model:
        if isinstance(value, BaseModel) or (model is settings and name == "providers"):
            continue
        source = settings.source_of(f"{prefix}{name}")
        if value is None:
            lines.append(f"# {name} is not set  # {source}")
        else:
            lines.append(f"{name} = {toml(plain(value, name))}  # {source}")
    return lines


def plain(value: Any, name: str) -> Any:
    """`value` made of what JSON and TOML know, with what looks like a secret by its name hidden."""
    if isinstance(value, BaseModel):
        return plain(value.model_dump(exclude_none=True), name)
    if isinstance(value, Mapping):
        return {key: plain(inner, str(key)) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner, name) for inner in value]
    if isinstance(value, bool | int | float) or value is None:
        return value
    text = str(value)
    if _SECRET_NAME.search(name) and text and not _REFERENCE.fullmatch(text):
        return HIDDEN
    return text


def toml(value: Any) -> str:
    if isinstance(value, Mapping):
        pairs = (f"{_name(str(key))} = {toml(inner)}" for key, inner in value.items())
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(toml(inner) for inner in value) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    return _text(str(value))


def _name(name: str) -> str:
    return name if _BARE.fullmatch(name) else _text(name)


def _text(text: str) -> str:
    # A basic string of TOML is a string of JSON, but for DEL, which JSON leaves as it is.
    whole = text.encode("utf-8", errors="replace").decode()
    return msgspec.json.encode(whole).decode().replace("\x7f", "\\u007f")
