"""Where plugins come from: modules the app names, or objects; other kinds fit the same door."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Protocol

from bamboo_mcp.domain.errors import PluginError
from bamboo_mcp.domain.value import Value


class FoundPlugin(Value, frozen=True, kw_only=True):
    """A plugin that was found and not yet imported. `load` returns what carries its hooks."""

    name: str
    origin: str
    """For people: from which package, file or setting it comes."""
    load: Callable[[], object]


class PluginSource(Protocol):
    """Finds plugins without importing them. Its order is the order of precedence."""

    @property
    def name(self) -> str: ...
    def find(self) -> Iterable[FoundPlugin]: ...


class ModuleSource:
    """Plugins that are modules, by their import paths: what ships with bamboo-mcp."""

    def __init__(self, modules: Sequence[str], *, name: str = "builtins") -> None:
        self._modules = tuple(modules)
        self._name = name

    @property
    def name(self) -> str:
        return self._name

    def find(self) -> Iterable[FoundPlugin]:
        for path in self._modules:
            load = partial(importlib.import_module, path)
            yield FoundPlugin(name=path.rpartition(".")[2], origin=f"module {path}", load=load)


class ObjectSource:
    """Plugins that exist already: a program that embeds bamboo-mcp, or a test."""

    def __init__(self, plugins: Mapping[str, object], *, name: str = "objects") -> None:
        self._plugins = dict(plugins)
        self._name = name

    @property
    def name(self) -> str:
        return self._name

    def find(self) -> Iterable[FoundPlugin]:
        for name, plugin in self._plugins.items():
            origin = f"object of {type(plugin).__name__}"
            yield FoundPlugin(name=name, origin=origin, load=partial(_itself, plugin))


def _itself(plugin: object) -> object:
    return plugin


def load_factory(place: str) -> Callable[..., object]:
    """The function at `package.module:function`.

    Raises:
        PluginError: The place is not written like that, or there is no such function; what went
            wrong is its cause.
    """
    module_name, colon, attribute = place.partition(":")
    if not (module_name and colon and attribute):
        raise PluginError(f"{place!r} is not a place", hint="Write it as package.module:function.")
    try:
        factory: object = importlib.import_module(module_name)
        for part in attribute.split("."):
            factory = getattr(factory, part)
    except (ImportError, AttributeError) as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else ""
        known = bool(missing) and not f"{module_name}.".startswith(f"{missing}.")
        hint = f"Install the package that has {missing!r}." if known else ""
        raise PluginError(f"{place!r} could not be loaded: {error}", hint=hint) from error
    except (Exception, SystemExit) as error:
        raise PluginError(f"{place!r} failed at its import: {_said(error)}") from error
    if not callable(factory):
        raise PluginError(f"{place!r} is a {type(factory).__name__}, not a function")
    return factory


def _said(error: BaseException) -> str:
    text = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
