"""The places settings are said in, each read into one shape: file, environment, flags."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bamboo_mcp.domain.errors import SettingsError
from bamboo_mcp.domain.value import Value
from bamboo_mcp.settings.keys import UNKNOWN, annotation_of, flat, is_table, merged, value_of
from bamboo_mcp.settings.paths import absolute

PREFIX = "BAMBOO_"
CONFIG_VARIABLE = "BAMBOO_CONFIG"

ALIASES: Mapping[str, str] = {"BAMBOO_MODEL": "models.primary"}
"""Short names of variables that people set often."""

FLAGS: Mapping[str, str] = {
    "home": "--home",
    "workspace.root": "--workspace",
    "models.primary": "--model",
    "server.expose": "--expose",
    "server.http.host": "--host",
    "server.http.port": "--port",
    "server.http.tokens": "--token",
    "permissions.allow_commands": "--allow-commands",
    "permissions.max_mode": "--max-mode",
    "permissions.default_mode": "--permission-mode",
    "limits.max_rounds": "--max-rounds",
    "limits.timeout_s": "--timeout",
}
"""How the command line spells a key; a test holds the command line to it."""

MAX_FILE_BYTES = 1_048_576

_PATHS = (("home",), ("workspace", "root"))


class Layer(Value, frozen=True, kw_only=True):
    """What one place says; `said` is where exactly, by dotted key, `spell` how one is written."""

    place: str
    values: Mapping[str, Any]
    said: Mapping[str, str]
    spell: Callable[[str], str]
    short_names: Mapping[str, str] = {}
    """Other names that could have been meant, as keys, and how they are written."""

    def where(self, key: str) -> str:
        """The most exact place known for `key`: its own, one inside it, or of what holds it."""
        if key in self.said:
            return self.said[key]
        for name, place in self.said.items():
            if name.startswith(f"{key}."):
                return place
        parent = key.rpartition(".")[0]
        return self.where(parent) if parent else self.place


def file_layer(path: Path) -> Layer:
    """Read a TOML file. A relative folder in it is meant from the file's own.

    Raises:
        SettingsError: With the file, and line and column when it is not TOML.
    """
    text = _file_text(path)
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(
            f"{path}{_position(str(error), text)}: not valid TOML: {_reason(str(error))}",
            hint="text needs quotes, = stands between name and value, sections in [brackets]",
        ) from None
    except (ValueError, RecursionError):
        raise SettingsError(
            f"{path}: not usable TOML: a number is too long or nested too deep"
        ) from None
    lines = _lines(text)
    said: dict[str, str] = {}
    for key, _ in flat(values):
        line = _line_of(key, lines)
        said[key] = f"{path}:{line}" if line else str(path)
    for key, line in lines.items():
        said.setdefault(key, f"{path}:{line}")
    return Layer(place=str(path), values=_anchored(values, path.parent), said=said, spell=str)


def environment_layer(environ: Mapping[str, str]) -> Layer:
    """Read the `BAMBOO_*` variables; `__` stands for the dot.

    An empty variable counts as not set: MCP clients pass on what their user left blank.

    Raises:
        SettingsError: A table is not JSON, or two variables say different things of one key.
    """
    values: dict[str, Any] = {}
    said: dict[str, str] = {}
    for name in sorted(environ):
        text = environ[name]
        if not name.startswith(PREFIX) or name == CONFIG_VARIABLE or not text.strip():
            continue
        key = ALIASES.get(name) or name.removeprefix(PREFIX).lower().replace("__", ".")
        kind = annotation_of(tuple(key.split(".")))
        value = text if kind is UNKNOWN else value_of(text, kind)
        if is_table(kind) and not isinstance(value, Mapping):
            # Not shown: a provider's may hold a key.
            raise SettingsError(f"{name}: {key} must be a JSON object, and this is none")
        if key in said and dict(flat(values)).get(key) != value:
            raise SettingsError(
                f"{said[key]} and {name} both say what {key} is, and differ",
                hint="unset one of them",
            )
        values = merged(values, _nested(key, value))
        _note(said, key, value, name)
    return Layer(
        place="the environment",
        values=_anchored(values, Path.cwd()),
        said=said,
        spell=lambda key: PREFIX + key.upper().replace(".", "__"),
        short_names={
            name.removeprefix(PREFIX).lower(): name for name in (*ALIASES, CONFIG_VARIABLE)
        },
    )


def flag_layer(flags: Mapping[str, object]) -> Layer:
    """Dotted keys with what the command line said of them; None: it said nothing."""
    values: dict[str, Any] = {}
    said: dict[str, str] = {}
    for key, value in flags.items():
        if value is None:
            continue
        kind = annotation_of(tuple(key.split(".")))
        parsed = value_of(value, kind) if isinstance(value, str) and kind is not UNKNOWN else value
        values = merged(values, _nested(key, parsed))
        _note(said, key, parsed, _flag(key))
    return Layer(
        place="the command line",
        values=_anchored(values, Path.cwd()),
        said=said,
        spell=_flag,
    )


def _flag(key: str) -> str:
    return FLAGS.get(key, f"--{key}")


def _note(said: dict[str, str], key: str, value: Any, place: str) -> None:
    said[key] = place
    if isinstance(value, Mapping):
        said.update((inner, place) for inner, _ in flat(value, f"{key}."))


def _nested(key: str, value: Any) -> dict[str, Any]:
    first, _, rest = key.partition(".")
    return {first: _nested(rest, value) if rest else value}


def _anchored(values: Mapping[str, Any], base: Path) -> Mapping[str, Any]:
    """Relative folders made absolute from `base`, `~` expanded."""
    for path in _PATHS:
        found: Any = values
        for part in path:
            found = found.get(part) if isinstance(found, Mapping) else None
        if isinstance(found, str | Path) and str(found).strip():
            anchored = str(absolute(found, base))
            values = merged(values, _nested(".".join(path), anchored))
    return values


def _file_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise SettingsError(
            f"the settings file {str(path)!r} does not exist",
            hint=f'make one with: bamboo-mcp --config "{path}" config init',
        ) from None
    except OSError as error:
        raise SettingsError(
            f"the settings file {str(path)!r} cannot be read: {error.strerror or error}"
        ) from error
    if len(data) > MAX_FILE_BYTES:
        raise SettingsError(
            f"the settings file {str(path)!r} is larger than {MAX_FILE_BYTES} bytes",
            hint="is this the right file?",
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SettingsError(
            f"{path}:{line}: not UTF-8 text", hint="save the file with the encoding UTF-8"
        ) from None


_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


def _position(said: str, text: str) -> str:
    found = _PLACE.search(said)
    if found is None:
        return ""
    if found[1]:
        return f":{found[1]}:{found[2]}"
    lines = text.split("\n")
    return f":{len(lines)}:{len(lines[-1]) + 1}"


def _reason(said: str) -> str:
    reason = _PLACE.sub("", said)
    return f"{reason[:1].lower()}{reason[1:]}"


_HEADER = re.compile(r"\s*\[\s*([^\[\]]+?)\s*\]\s*(?:#.*)?")
_ENTRY = re.compile(r"""\s*((?:"[^"]*"|'[^']*'|[\w.\s-])+?)\s*=""")
_PART = re.compile(r""""([^"]*)"|'([^']*)'|([\w-]+)""")


def _lines(text: str) -> dict[str, int]:
    """The line each key stands on. Text over several lines may fool it; only messages use it."""
    found: dict[str, int] = {}
    table = ""
    for number, line in enumerate(text.split("\n"), start=1):
        if header := _HEADER.fullmatch(line):
            table = _dotted(header[1])
            found.setdefault(table, number)
        elif entry := _ENTRY.match(line):
            key = _dotted(entry[1])
            found.setdefault(f"{table}.{key}" if table else key, number)
    return found


def _line_of(key: str, lines: Mapping[str, int]) -> int | None:
    """Its own, or that of the table in braces it stands in."""
    while key and key not in lines:
        key = key.rpartition(".")[0]
    return lines.get(key)


def _dotted(written: str) -> str:
    return ".".join(a or b or c for a, b, c in _PART.findall(written))
