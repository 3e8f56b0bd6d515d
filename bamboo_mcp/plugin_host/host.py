"""`PluginHost`: asks every plugin for its contributions, and lets none of them harm the others."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

import pluggy

from bamboo_mcp.contributions import (
    Contribution,
    EventSinkContribution,
    LauncherContribution,
    ProviderContribution,
    Services,
    ToolsContribution,
)
from bamboo_mcp.domain.errors import BambooError, PluginError
from bamboo_mcp.domain.runs import RunRequest
from bamboo_mcp.domain.value import Value
from bamboo_mcp.plugin_host import hookspecs
from bamboo_mcp.plugin_host.sources import FoundPlugin, PluginSource, load_factory
from bamboo_mcp.ports import EventSink, Launcher, SessionStore
from bamboo_mcp.settings import Settings
from bamboo_mcp.tools.composite import Member
from bamboo_mcp.tools.excerpts import closest, shown

logger = logging.getLogger(__name__)

C = TypeVar("C", bound=Contribution)
T = TypeVar("T")

MAX_FAULTS = 500

PluginState: TypeAlias = Literal["loaded", "disabled", "failed"]


class PluginFault(Value, frozen=True, kw_only=True):
    """What a plugin did wrong. `hook` is where: a hook's name, `import`, `load` or `find`."""

    plugin: str
    hook: str
    message: str


class PluginInfo(Value, frozen=True, kw_only=True):
    """A plugin as people see it listed."""

    name: str
    origin: str
    source: str
    state: PluginState
    hooks: tuple[str, ...] = ()


class PluginHost:
    """All plugins of this process. It loads and asks them when it is made, each on its own.

    Plugins come in the order of `sources`; when two contribute the same thing the first keeps it,
    and the fault of the second names both. Nothing a plugin does is raised from here, except
    KeyboardInterrupt and cancellation; it is in `faults`. Only `deny_tools` raises: what guards a
    run must not fail open.
    """

    def __init__(self, sources: Sequence[PluginSource], *, disabled: Iterable[str] = ()) -> None:
        self._hooks = pluggy.PluginManager(hookspecs.PROJECT)
        self._hooks.add_hookspecs(hookspecs)
        self._disabled = frozenset(disabled)
        self._faults: dict[PluginFault, None] = {}
        self._failures = 0
        """How often anything went wrong, also what `faults` has already or has no room for."""
        self._owner: dict[int, str] = {}
        self._plugins: dict[str, PluginInfo] = {}
        for source in sources:
            self._load_source(source)
        self.providers = self._named("contribute_providers", ProviderContribution, "type")
        self.tools = self._named("contribute_tools", ToolsContribution, "name")
        self.event_sinks = self._named("contribute_event_sinks", EventSinkContribution, "name")
        self.launchers = self._named("contribute_launchers", LauncherContribution, "name")
        self.skills = tuple(item for _, item in self._collected("contribute_skills"))
        self.upstreams = tuple(item for _, item in self._collected("contribute_upstreams"))
        self.commands = tuple(item for _, item in self._collected("contribute_commands"))
        self._deniers = self._answering("deny_tools")
        """Asked before every run; nobody joins or leaves after the start."""

    @property
    def faults(self) -> tuple[PluginFault, ...]:
        return tuple(self._faults)

    @property
    def plugins(self) -> tuple[PluginInfo, ...]:
        return tuple(self._plugins.values())

    # --- what was contributed, made ------------------------------------------------------------

    def tool_members(self, services: Services) -> tuple[Member, ...]:
        """Every contributed family of tools, for the composite, in the order of precedence."""
        made = (
            (item, self._made(item, services, "list_tools", "call_tool")) for item in self.tools
        )
        return tuple(
            Member(name=item.name, group=item.group, executor=executor)
            for item, executor in made
            if executor is not None
        )

    def make_event_sinks(self, services: Services) -> Mapping[str, EventSink]:
        made = {item.name: self._made(item, services, "emit") for item in self.event_sinks}
        return {name: sink for name, sink in made.items() if sink is not None}

    def make_launchers(self, services: Services) -> Mapping[str, Launcher]:
        made = {item.name: self._made(item, services, "launch") for item in self.launchers}
        return {name: launcher for name, launcher in made.items() if launcher is not None}

    def deny_tools(self, request: RunRequest) -> tuple[str, ...]:
        """What plugins take away from one run.

        Raises:
            PluginError: A plugin gave no proper answer, so that nobody knows what it would deny.
        """
        hook = "deny_tools"
        denied: list[str] = []
        for plugin, impl in self._deniers:
            before = self._failures
            answer = self._ask(hook, impl, {"request": request})
            if self._failures == before and answer is not None:
                denied += self._tool_names(plugin, hook, answer)
            if self._failures != before:
                raise PluginError(
                    f"the hook {hook} of plugin {plugin!r} failed, and without its answer no run "
                    "may begin",
                    hint="health and the server's log say how it failed; mend the plugin, or name "
                    "it in the setting plugins.disabled",
                )
        return tuple(denied)

    def _tool_names(self, plugin: str, hook: str, answer: object) -> list[str]:
        if not isinstance(answer, list | tuple):
            self._fault(plugin, hook, f"it returned {_kind(answer)}, a list is expected")
            return []
        for name in answer:
            if not isinstance(name, str):
                self._fault(plugin, hook, f"it returned {_kind(name)}, not a tool's name")
        return [name for name in answer if isinstance(name, str)]

    def make_session_store(
        self, settings: Settings, home: Path
    ) -> AbstractAsyncContextManager[SessionStore] | None:
        needs = ("__aenter__", "__aexit__")
        store: AbstractAsyncContextManager[SessionStore] | None
        store = self._first("make_session_store", *needs, settings=settings, home=home)
        return store

    def make_summarizer(self, settings: Settings) -> object | None:
        summarizer: object | None = self._first("make_summarizer", settings=settings)
        return summarizer

    # --- loading -------------------------------------------------------------------------------

    def _load_source(self, source: PluginSource) -> None:
        found = self._guarded(source.name, "find", lambda: list(source.find()))
        for plugin in found or ():
            earlier = self._plugins.get(plugin.name)
            if earlier is not None:
                clash = f"{plugin.origin} is left out: {earlier.origin} has that name already"
                self._fault(plugin.name, "import", clash)
                continue
            state: PluginState = "disabled"
            if plugin.name not in self._disabled:
                state = "loaded" if self._load(plugin) else "failed"
            self._plugins[plugin.name] = PluginInfo(
                name=plugin.name,
                origin=plugin.origin,
                source=source.name,
                state=state,
                hooks=tuple(sorted(self._hooks_of(plugin.name))) if state == "loaded" else (),
            )

    def _load(self, found: FoundPlugin) -> bool:
        loaded = self._guarded(found.name, "import", lambda: (found.load(),))
        if loaded is None:
            return False
        [plugin] = loaded
        registered = self._guarded(
            found.name, "import", lambda: self._hooks.register(plugin, found.name)
        )
        if registered is None:
            return False
        for caller in self._hooks.get_hookcallers(plugin) or ():
            if not caller.has_spec():
                near = closest(caller.name, _hook_names())
                hint = f"; did you mean {near!r}?" if near else ""
                self._fault(found.name, caller.name, f"there is no hook of that name{hint}")
        hooks = set(self._hooks_of(found.name))
        for name in _hook_names():
            if name not in hooks and inspect.getattr_static(plugin, name, None) is not None:
                self._fault(found.name, name, "it is not marked with @hookimpl, so nobody asks it")
        return True

    def _hooks_of(self, plugin: str) -> list[str]:
        names = _hook_names()
        return [name for name in names if any(who == plugin for who, _ in self._answering(name))]

    # --- asking --------------------------------------------------------------------------------

    def _answering(self, hook: str) -> list[tuple[str, pluggy.HookImpl]]:
        """Who implements a hook, first loaded first. Not pluggy's own call: there one that raises
        takes everybody's answer with it."""
        caller: pluggy.HookCaller = getattr(self._hooks.hook, hook)
        order = {name: place for place, (name, _) in enumerate(self._hooks.list_name_plugin())}
        impls = [impl for impl in caller.get_hookimpls() if impl.plugin_name in order]
        impls.sort(key=lambda impl: order[impl.plugin_name])
        return [(impl.plugin_name, impl) for impl in impls]

    def _ask(self, hook: str, impl: pluggy.HookImpl, arguments: Mapping[str, Any]) -> object:
        plugin = impl.plugin_name
        if impl.wrapper or impl.hookwrapper:
            self._fault(plugin, hook, "hook wrappers are not supported; contribute something")
            return None
        given = [arguments[name] for name in impl.argnames]
        answer = self._guarded(plugin, hook, lambda: impl.function(*given))
        if inspect.iscoroutine(answer):
            answer.close()
            self._fault(plugin, hook, "it is an async function; hooks are plain functions")
            return None
        return answer

    def _collected(self, hook: str, **arguments: Any) -> list[tuple[str, object]]:
        """All that plugins answer to a hook, with who said it."""
        collected: list[tuple[str, object]] = []
        for plugin, impl in self._answering(hook):
            answer = self._ask(hook, impl, arguments)
            if isinstance(answer, (list, tuple)):
                collected += ((plugin, item) for item in answer)
            elif answer is not None:
                self._fault(plugin, hook, f"it returned {_kind(answer)}, a list is expected")
        return collected

    def _named(self, hook: str, kind: type[C], key: str) -> tuple[C, ...]:
        """The contributions to a hook that are what they should be, no name twice."""
        taken: dict[str, C] = {}
        for plugin, item in self._collected(hook):
            if not isinstance(item, kind):
                self._fault(plugin, hook, f"it returned {_kind(item)}, not a {kind.__name__}")
                continue
            name = getattr(item, key)
            if not isinstance(name, str) or not name:
                self._fault(plugin, hook, f"a contribution has {shown(name)} as its {key}")
            elif name in taken:
                first = self._owner[id(taken[name])]
                message = f"{name!r} of plugin {plugin!r} is left out: plugin {first!r} has it"
                self._fault(plugin, hook, message)
            else:
                taken[name] = item
                self._owner[id(item)] = plugin
        return tuple(taken.values())

    def _first(self, hook: str, *needs: str, **arguments: Any) -> Any:
        """The first answer that is not None, last loaded plugin first: it came to replace."""
        for plugin, impl in reversed(self._answering(hook)):
            answer = self._ask(hook, impl, arguments)
            if answer is not None and self._has(plugin, hook, answer, needs):
                return answer
        return None

    def _made(
        self,
        item: ToolsContribution | EventSinkContribution | LauncherContribution,
        services: Services,
        *needs: str,
    ) -> Any:
        """What a contribution's factory returns, or None with a fault."""
        plugin = self._owner[id(item)]
        load = item.load

        def make() -> tuple[object]:
            factory = load_factory(load) if isinstance(load, str) else load
            return (factory(services),)

        made = self._guarded(plugin, "load", make, about=f"{item.name!r}: ")
        return made[0] if made and self._has(plugin, "load", made[0], needs) else None

    def _has(self, plugin: str, hook: str, thing: object, needs: Sequence[str]) -> bool:
        missing = [name for name in needs if not callable(getattr(thing, name, None))]
        if missing:
            message = f"it returned {_kind(thing)}, which has no {' and no '.join(missing)}"
            self._fault(plugin, hook, message)
        return not missing

    # --- the border ----------------------------------------------------------------------------

    def _guarded(
        self, plugin: str, hook: str, call: Callable[[], T], *, about: str = ""
    ) -> T | None:
        try:
            return call()
        except (KeyboardInterrupt, asyncio.CancelledError):
            raise
        except BaseException as error:
            # SystemExit too: a plugin that gives up must not take the server with it.
            logger.exception("plugin %s failed in %s", plugin, hook)
            self._fault(plugin, hook, about + _said(error))
            return None

    def _fault(self, plugin: str, hook: str, message: str) -> None:
        self._failures += 1
        logger.warning("plugin %s, %s: %s", plugin, hook, message)
        # Once each, and not for ever: a hook asked before every run may fail before every run.
        if len(self._faults) < MAX_FAULTS:
            self._faults[PluginFault(plugin=plugin, hook=hook, message=message)] = None


def _hook_names() -> list[str]:
    return [name for name in vars(hookspecs) if name.startswith(("contribute_", "make_"))] + [
        "deny_tools"
    ]


def _said(error: BaseException) -> str:
    text = " ".join(str(error).split())[:500]
    if isinstance(error, BambooError):
        return f"{text}. {error.hint}" if error.hint else text
    return f"{type(error).__name__}: {text}"


def _kind(thing: object) -> str:
    return f"a {type(thing).__name__}"
