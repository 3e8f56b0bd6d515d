from __future__ import annotations

import inspect

import pluggy

from bamboo_mcp.plugin_host import hookspecs

HOOKS = {
    "contribute_providers": [],
    "contribute_tools": [],
    "contribute_skills": [],
    "contribute_event_sinks": [],
    "contribute_launchers": [],
    "contribute_upstreams": [],
    "contribute_commands": [],
    "deny_tools": ["request"],
    "make_session_store": ["settings", "home"],
    "make_summarizer": ["settings"],
}


def test_the_hooks_are_this_closed_list_with_these_arguments() -> None:
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    known = {name: caller for name, caller in vars(manager.hook).items() if name[0] != "_"}
    assert set(known) == set(HOOKS)
    for name, arguments in HOOKS.items():
        assert list(known[name].spec.argnames) == arguments, name


def test_the_first_answer_wins_exactly_where_something_is_made() -> None:
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    for name in HOOKS:
        first = getattr(manager.hook, name).spec.opts["firstresult"]
        assert first is name.startswith("make_"), name


def test_each_hook_says_what_it_is_for_with_an_example_that_compiles() -> None:
    for name in HOOKS:
        text = inspect.cleandoc(getattr(hookspecs, name).__doc__)
        example = text.partition("```python\n")[2].partition("```")[0]
        assert f"def {name}(" in example
        compile(example, name, "exec")
