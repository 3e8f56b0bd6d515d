from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, cast

import anyio
import pytest

from bamboo_mcp.contributions import (
    EventSinkContribution,
    LauncherContribution,
    ProviderConfig,
    ProviderContribution,
    Services,
    ToolsContribution,
)
from bamboo_mcp.domain.errors import PluginError
from bamboo_mcp.domain.events import EventRecord
from bamboo_mcp.domain.ids import RunId, SessionId
from bamboo_mcp.domain.runs import RunRequest
from bamboo_mcp.plugin_host.hookspecs import hookimpl
from bamboo_mcp.plugin_host.host import MAX_FAULTS, PluginFault, PluginHost
from bamboo_mcp.plugin_host.sources import FoundPlugin, ModuleSource, ObjectSource
from bamboo_mcp.ports import Provider, SessionStore, ToolExecutor
from bamboo_mcp.testing.contracts.tool_executor import quiet_context
from bamboo_mcp.tools.composite import CompositeExecutor
from tests.tools.small_tools import SmallTools, call

NO_SERVICES = cast(Services, None)
"""The factories of these tests use none."""

REQUEST = RunRequest(run_id=RunId("run_1"), session_id=SessionId("ses_1"))


def make_tools(services: Services) -> ToolExecutor:
    return SmallTools("works")


def no_provider(config: ProviderConfig) -> Provider:
    raise AssertionError("no test loads it")


class Gives:
    """A plugin that contributes the tools it was made with."""

    def __init__(self, *tools: object) -> None:
        self.tools = tools

    @hookimpl
    def contribute_tools(self) -> Any:
        return list(self.tools)


class Raises:
    """A plugin whose hook raises what it was made with."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    @hookimpl
    def contribute_tools(self) -> Any:
        raise self.error


class Returns:
    """A plugin whose hook returns what it was made with."""

    def __init__(self, answer: object) -> None:
        self.answer = answer

    @hookimpl
    def contribute_tools(self) -> Any:
        return self.answer


def dice(load: Any = make_tools, name: str = "dice") -> ToolsContribution:
    return ToolsContribution(name=name, load=load)


def host(*, disabled: Iterable[str] = (), **plugins: object) -> PluginHost:
    return PluginHost([ObjectSource(plugins)], disabled=disabled)


def faults(made: PluginHost) -> list[tuple[str, str]]:
    return [(fault.plugin, fault.hook) for fault in made.faults]


async def test_a_contributed_family_of_tools_ends_in_the_composite() -> None:
    made = PluginHost([ModuleSource(["tests.plugin_host.good_plugin"])])
    composite = CompositeExecutor(made.tool_members(NO_SERVICES))
    assert [spec.name for spec in await composite.list_tools()] == ["count_dice", "roll_dice"]
    assert (await composite.call_tool(call("roll_dice"), quiet_context())).text == "roll_dice"
    assert made.faults == ()
    [plugin] = made.plugins
    assert (plugin.name, plugin.state, plugin.source) == ("good_plugin", "loaded", "builtins")
    assert plugin.hooks == ("contribute_tools",)


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("broken_at_import", "SystemExit: 7"),
        ("raises_at_import", "no licence file"),
        ("needs_missing", "a_package_that_nobody_has"),
        ("no_such_module", "no_such_module"),
    ],
)
def test_a_plugin_that_fails_at_import_costs_nothing_but_itself(module: str, words: str) -> None:
    paths = [f"tests.plugin_host.{module}", "tests.plugin_host.good_plugin"]
    made = PluginHost([ModuleSource(paths)])
    assert [item.name for item in made.tools] == ["dice"]
    [fault] = made.faults
    assert (fault.plugin, fault.hook) == (module, "import")
    assert words in fault.message
    assert [plugin.state for plugin in made.plugins] == ["failed", "loaded"]


@pytest.mark.parametrize(
    "error", [ValueError("bad"), SystemExit(1), GeneratorExit(), ExceptionGroup("g", [OSError()])]
)
def test_a_hook_that_raises_is_a_fault_and_the_others_are_asked(error: BaseException) -> None:
    made = host(first=Gives(dice()), bad=Raises(error), last=Gives(dice(name="cards")))
    assert [item.name for item in made.tools] == ["dice", "cards"]
    assert faults(made) == [("bad", "contribute_tools")]
    assert type(error).__name__ in made.faults[0].message


@pytest.mark.parametrize("error", [KeyboardInterrupt(), asyncio.CancelledError()])
def test_an_interrupt_is_not_swallowed(error: BaseException) -> None:
    with pytest.raises(type(error)):
        host(bad=Raises(error))


@pytest.mark.parametrize("answer", [dice(), {"name": "dice"}, "dice", 3, iter([])])
def test_an_answer_that_is_no_list_is_that_plugins_fault(answer: object) -> None:
    made = host(bad=Returns(answer), good=Gives(dice()))
    assert [item.name for item in made.tools] == ["dice"]
    assert faults(made) == [("bad", "contribute_tools")]
    assert type(answer).__name__ in made.faults[0].message


def test_no_answer_is_no_fault() -> None:
    assert host(quiet=Returns(None), empty=Returns([]), tuple=Returns(())).faults == ()


def test_one_wrong_item_leaves_the_right_ones() -> None:
    provider = ProviderContribution(type="acme", load=no_provider)
    made = host(mixed=Gives(provider, dice(), "cards", dice(name="")))
    assert [item.name for item in made.tools] == ["dice"]
    assert [fault.message.split(",")[0] for fault in made.faults] == [
        "it returned a ProviderContribution",
        "it returned a str",
        'a contribution has "" as its name',
    ]


def test_an_async_hook_is_refused_without_a_warning() -> None:
    class Async:
        @hookimpl
        async def contribute_tools(self) -> list[ToolsContribution]:
            return [dice()]

    made = host(bad=Async())
    assert made.tools == ()
    assert "async" in made.faults[0].message


def test_a_hook_with_a_wrong_signature_is_that_plugins_fault() -> None:
    class Wrong:
        @hookimpl
        def contribute_event_sinks(self) -> list[EventSinkContribution]:
            return [EventSinkContribution(name="s", load="x:y")]

        @hookimpl
        def contribute_tools(self, server: object) -> list[ToolsContribution]:
            return [dice()]

    made = host(bad=Wrong(), good=Gives(dice()))
    assert faults(made) == [("bad", "import")]
    assert "server" in made.faults[0].message
    assert made.event_sinks == ()
    assert [item.name for item in made.tools] == ["dice"]


def test_a_misspelt_hook_is_named_with_the_right_spelling() -> None:
    class Misspelt:
        @hookimpl
        def contribute_tool(self) -> list[ToolsContribution]:
            return [dice()]

    made = host(bad=Misspelt())
    assert faults(made) == [("bad", "contribute_tool")]
    assert "'contribute_tools'" in made.faults[0].message


def test_a_hook_without_its_mark_is_told_instead_of_ignored() -> None:
    class Unmarked:
        def contribute_tools(self) -> list[ToolsContribution]:
            return [dice()]

    made = host(bad=Unmarked())
    assert faults(made) == [("bad", "contribute_tools")]
    assert "@hookimpl" in made.faults[0].message


def test_a_hook_wrapper_is_refused() -> None:
    class Wraps:
        @hookimpl(wrapper=True)
        def contribute_tools(self) -> Any:
            return (yield)

    made = host(bad=Wraps(), good=Gives(dice()))
    assert [item.name for item in made.tools] == ["dice"]
    assert faults(made) == [("bad", "contribute_tools")]


def test_an_object_that_cannot_even_be_looked_at_is_a_fault() -> None:
    class Prickly:
        def __dir__(self) -> Iterable[str]:
            raise SystemExit("do not touch")

    made = host(bad=Prickly(), good=Gives(dice()))
    assert [item.name for item in made.tools] == ["dice"]
    assert faults(made) == [("bad", "import")]


def test_a_family_of_a_name_that_is_taken_is_refused_and_both_are_named() -> None:
    made = host(first=Gives(dice()), second=Gives(dice(load="other.place:make")))
    [kept] = made.tools
    assert kept.load is make_tools
    [fault] = made.faults
    assert (fault.plugin, fault.hook) == ("second", "contribute_tools")
    assert "'dice'" in fault.message
    assert "'second'" in fault.message
    assert "'first'" in fault.message


def test_a_provider_type_and_a_launcher_that_are_taken_are_refused() -> None:
    class Both:
        @hookimpl
        def contribute_providers(self) -> list[ProviderContribution]:
            return [ProviderContribution(type="acme", load=no_provider)]

        @hookimpl
        def contribute_launchers(self) -> list[LauncherContribution]:
            return [LauncherContribution(name="cluster", load="x:y")]

    made = host(first=Both(), second=Both())
    assert len(made.providers) == len(made.launchers) == 1
    assert faults(made) == [("second", "contribute_providers"), ("second", "contribute_launchers")]


def test_a_plugin_name_that_is_taken_is_left_out_and_earlier_sources_win() -> None:
    earlier = ObjectSource({"same": Gives(dice())}, name="builtins")
    later = ObjectSource({"same": Gives(dice(name="cards"))}, name="entry points")
    made = PluginHost([earlier, later])
    assert [item.name for item in made.tools] == ["dice"]
    assert faults(made) == [("same", "import")]
    assert [plugin.source for plugin in made.plugins] == ["builtins"]


def test_the_same_object_under_two_names_is_one_plugin() -> None:
    plugin = Gives(dice())
    made = host(one=plugin, two=plugin)
    assert [item.name for item in made.tools] == ["dice"]
    assert faults(made) == [("two", "import")]


def test_a_disabled_plugin_is_not_even_imported() -> None:
    path = "tests.plugin_host.broken_at_import"
    made = PluginHost([ModuleSource([path])], disabled=["broken_at_import"])
    assert made.faults == ()
    assert [plugin.state for plugin in made.plugins] == ["disabled"]


def test_a_source_that_fails_half_way_costs_only_its_own_plugins() -> None:
    class Fails:
        name = "folders"

        def find(self) -> Iterable[FoundPlugin]:
            yield FoundPlugin(name="x", origin="x", load=lambda: Gives(dice(name="x")))
            raise PermissionError("folder")

    made = PluginHost([Fails(), ObjectSource({"good": Gives(dice())})])
    assert [item.name for item in made.tools] == ["dice"]
    assert faults(made) == [("folders", "find")]


def refuse(services: Services) -> ToolExecutor:
    raise SystemExit("no")


@pytest.mark.parametrize(
    ("load", "words"),
    [
        (refuse, "SystemExit: no"),
        (lambda: SmallTools(), "TypeError"),
        (lambda services: None, "no list_tools and no call_tool"),
        (lambda services: object(), "no list_tools and no call_tool"),
        ("tests.plugin_host.good_plugin:nothing", "nothing"),
        ("tests.plugin_host.good_plugin:NOT_A_FUNCTION", "not a function"),
        ("tests.plugin_host.good_plugin", "package.module:function"),
        ("tests.plugin_host.broken_at_import:make", "SystemExit: 7"),
        ("a_package_that_nobody_has.tools:make", "a_package_that_nobody_has"),
    ],
)
async def test_a_factory_that_fails_costs_only_its_own_tools(
    load: str | Callable[[Services], ToolExecutor], words: str
) -> None:
    made = host(bad=Gives(dice(load=load, name="bad")), good=Gives(dice()))
    members = made.tool_members(NO_SERVICES)
    assert [member.name for member in members] == ["dice"]
    [fault] = made.faults
    assert (fault.plugin, fault.hook) == ("bad", "load")
    assert words in fault.message


def test_sinks_and_launchers_are_made_by_name() -> None:
    class Sink:
        def emit(self, record: EventRecord) -> None: ...

    class Plugin:
        @hookimpl
        def contribute_event_sinks(self) -> list[EventSinkContribution]:
            return [
                EventSinkContribution(name="good", load=lambda services: Sink()),
                EventSinkContribution(name="bad", load="nowhere:at_all"),
            ]

    made = host(p=Plugin())
    assert list(made.make_event_sinks(NO_SERVICES)) == ["good"]
    assert made.make_launchers(NO_SERVICES) == {}
    assert faults(made) == [("p", "load")]


def test_what_later_hooks_return_is_kept() -> None:
    class Plugin:
        @hookimpl
        def contribute_skills(self) -> list[object]:
            return ["folder"]

        @hookimpl
        def contribute_upstreams(self) -> tuple[object, ...]:
            return ({"command": "x"},)

        @hookimpl
        def contribute_commands(self) -> list[object]:
            return [print]

    made = host(p=Plugin())
    assert (made.skills, made.upstreams, made.commands) == (
        ("folder",),
        ({"command": "x"},),
        (print,),
    )


def test_tools_are_denied_by_every_plugin_that_says_so() -> None:
    class Denies:
        @hookimpl
        def deny_tools(self, request: RunRequest) -> list[str]:
            return [f"tool_of_{request.run_id}", "other"]

    class HasNoObjection:
        @hookimpl
        def deny_tools(self) -> None:
            return None

    made = host(one=Denies(), two=HasNoObjection(), three=Gives())
    assert made.deny_tools(REQUEST) == ("tool_of_run_1", "other")
    assert made.faults == ()


async def never() -> list[str]:
    return []


def policy_server_is_down() -> list[str]:
    raise OSError("policy server")


@pytest.mark.parametrize(
    "answer", [policy_server_is_down, lambda: "run_command", lambda: ["run_command", 5], never]
)
def test_a_deny_tools_hook_that_gives_no_answer_refuses_every_run(
    answer: Callable[[], object],
) -> None:
    class Guard:
        @hookimpl
        def deny_tools(self) -> Any:
            return answer()

    made = host(quiet=Gives(), guard=Guard())
    for _ in range(3):
        with pytest.raises(PluginError, match=r"hook deny_tools of plugin 'guard'"):
            made.deny_tools(REQUEST)
    assert faults(made) == [("guard", "deny_tools")]


def test_faults_that_never_end_do_not_fill_the_memory() -> None:
    class Fails:
        count = 0

        @hookimpl
        def deny_tools(self) -> list[str]:
            self.count += 1
            raise OSError(f"failure {self.count}")

    made = host(bad=Fails())
    for _ in range(MAX_FAULTS + 10):
        with pytest.raises(PluginError):
            made.deny_tools(REQUEST)
    assert len(made.faults) == MAX_FAULTS


async def test_the_last_plugin_that_has_a_session_store_gives_it() -> None:
    @asynccontextmanager
    async def opened() -> AsyncIterator[SessionStore]:
        yield cast(SessionStore, None)

    class Gives:
        def __init__(self, answer: object) -> None:
            self.answer = answer

        @hookimpl
        def make_session_store(self, home: object) -> Any:
            return self.answer

    store: AbstractAsyncContextManager[SessionStore] = opened()
    made = host(first=Gives(opened()), second=Gives(store), wrong=Gives("redis"), none=Gives(None))
    chosen = made.make_session_store(cast(Any, None), cast(Any, None))
    assert chosen is store
    assert faults(made) == [("wrong", "make_session_store")]
    assert made.make_summarizer(cast(Any, None)) is None
    with anyio.fail_after(5):
        async with store:
            pass


def test_two_hosts_know_nothing_of_each_other() -> None:
    one, two = host(a=Gives(dice())), host(b=Raises(ValueError("x")))
    assert (len(one.tools), one.faults) == (1, ())
    assert two.tools == ()
    assert two.faults == (
        PluginFault(plugin="b", hook="contribute_tools", message="ValueError: x"),
    )
