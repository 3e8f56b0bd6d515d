"""The rules of the house that no bought linter knows, each a function from a source to its faults.

`tests/house/test_rules.py` shows each of them failing; `test_house.py` and `python -m tests.house`
hold the repository to them.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TypeAlias

FILE_REVIEW, FILE_LIMIT = 350, 500
FUNCTION_REVIEW, FUNCTION_LIMIT = 50, 80

BANNED_NAMES = frozenset(("utils", "util", "common", "helpers", "helper", "base", "misc", "types"))

MANAGERS = frozenset(("bamboo_mcp/subagents/manager.py", "bamboo_mcp/upstream/manager.py"))
"""The two that manage lifetimes; nothing else may be called a manager."""

MARKS = re.compile(r"\b(TODO|FIXME|XXX|HACK|WIP)\b")

CONFINED: Mapping[str, tuple[str, ...]] = {
    "anthropic": ("providers/anthropic/",),
    "openai": ("providers/openai/",),
    "httpx2": ("providers/",),
    "tinydb": ("sessions/",),
    "pluggy": ("plugin_host/",),
    "mcp": ("server/", "upstream/", "testing/", "cli/demo"),
    "mcp_types": ("server/", "upstream/", "testing/", "cli/demo"),
    "starlette": ("server/", "testing/"),
    "sse_starlette": ("server/", "testing/"),
    "uvicorn": ("server/", "testing/"),
    "websockets": ("subagents/link", "worker/endpoint"),
    "pydantic": ("settings",),
    "pydantic_settings": ("settings",),
    "click": ("cli/", "testing/fake_llm/command"),
    "rich": ("cli/",),
    "filelock": ("disk/",),
    "keyring": ("settings/keyrings",),
    "genai_prices": ("providers/prices",),
    "bpe_openai": ("providers/",),
    "opentelemetry": ("metrics/tracing",),
    "sqlite3": ("sessions/", "metrics/"),
    "jsonschema_rs": ("tools/", "testing/"),
}
"""Where in bamboo_mcp a library may be imported: beginnings of paths."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A Python file: its path from the repository's root, with slashes, and what is in it."""

    path: PurePosixPath
    text: str
    tree: ast.Module = field(repr=False)

    @property
    def in_package(self) -> bool:
        return self.path.parts[0] == "bamboo_mcp"

    @property
    def lines(self) -> int:
        return len(self.text.splitlines())

    def fault(self, node: ast.AST | int, message: str) -> Fault:
        line = node if isinstance(node, int) else getattr(node, "lineno", 1)
        return Fault(path=self.path, line=line, message=message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Where a rule is broken and what to do about it."""

    path: PurePosixPath
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}"


Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
Rule: TypeAlias = Callable[[Source], Iterable[Fault]]


def parse(path: str, text: str) -> Source:
    return Source(path=PurePosixPath(path), text=text, tree=ast.parse(text))


def functions(source: Source) -> Iterator[tuple[int, Function]]:
    """Each function with its length in lines, signature and docstring included."""
    for node in ast.walk(source.tree):
        if isinstance(node, Function):
            yield (node.end_lineno or node.lineno) - node.lineno + 1, node


def file_length(source: Source) -> Iterator[Fault]:
    if source.lines > FILE_LIMIT:
        yield source.fault(
            source.lines, f"{source.lines} lines, at most {FILE_LIMIT}: split the file by noun"
        )


def function_length(source: Source) -> Iterator[Fault]:
    for length, node in functions(source):
        if length > FUNCTION_LIMIT:
            yield source.fault(
                node, f"{node.name!r} has {length} lines, at most {FUNCTION_LIMIT}: name its steps"
            )


def imported(tree: ast.Module) -> Iterator[tuple[ast.stmt, str]]:
    """Every module imported, also late or for types only; also import_module of a literal."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                for alias in names:
                    yield node, alias.name
            case ast.ImportFrom(module=str(module)):
                yield node, module
            case ast.Expr(value=call) | ast.Assign(value=call) | ast.Return(value=call):
                match call:
                    case ast.Call(
                        func=ast.Attribute(attr="import_module") | ast.Name(id="import_module"),
                        args=[ast.Constant(value=str(module)), *_],
                    ):
                        yield node, module


def confinement(source: Source) -> Iterator[Fault]:
    if not source.in_package:
        return
    inside = source.path.relative_to("bamboo_mcp").as_posix()
    for node, module in imported(source.tree):
        library = module.partition(".")[0]
        places = CONFINED.get(library)
        if places is not None and not inside.startswith(places):
            yield source.fault(node, f"{library!r} may be imported only in {', '.join(places)}")


def table_of_contents_line(source: Source) -> Iterator[Fault]:
    """The docstring's first line is one whole sentence, alone: the tree shows it."""
    if not source.in_package:
        return
    docstring = ast.get_docstring(source.tree)
    if docstring is None:
        yield source.fault(1, "no docstring: say in one sentence what the module is")
        return
    first, *rest = docstring.splitlines()
    if not first.endswith(".") or (rest and rest[0]):
        yield source.fault(1, "the docstring's first line must be a whole sentence of its own")
    elif len(first.split()) < 3 or re.match(r"(This|The) (module|package|file)\b", first):
        yield source.fault(1, f"{first!r} would not do as a line of the table of contents")


def names(source: Source) -> Iterator[Fault]:
    for part in (*source.path.parts[:-1], source.path.stem):
        words = set(part.removeprefix("test_").strip("_").split("_"))
        if banned := words & BANNED_NAMES:
            yield source.fault(
                1, f"{banned.pop()!r} in a name says nothing: name the module for what it is"
            )
    if (
        source.in_package
        and source.path.stem.endswith("manager")
        and str(source.path) not in MANAGERS
    ):
        yield source.fault(1, "'manager' is for what manages lifetimes: say what this one does")


def broad_excepts(source: Source) -> Iterator[Fault]:
    """`except Exception` stands only where it logs the traceback or hands the error on.

    ruff's BLE001 does not see the second; where it is switched off for that, this rule still holds.
    """
    if not source.in_package:
        return
    raised = {
        node.exc.id
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Name)
    }
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ExceptHandler) and _is_broad(node.type):
            if not (_logs(node) or _hands_on(node, raised)):
                yield source.fault(
                    node, "catches everything and is silent: logger.exception it, or let it pass"
                )


def _is_broad(caught: ast.expr | None) -> bool:
    match caught:
        case None:
            return True
        case ast.Name(id=name):
            return name in {"Exception", "BaseException"}
        case ast.Tuple(elts=several):
            return any(_is_broad(one) for one in several)
    return False


def _logs(handler: ast.ExceptHandler) -> bool:
    for node in ast.walk(handler):
        match node:
            case ast.Call(func=ast.Attribute(attr="exception")):
                return True
            case ast.Call(func=ast.Attribute(), keywords=keywords):
                if any(keyword.arg == "exc_info" for keyword in keywords):
                    return True
    return False


def _hands_on(handler: ast.ExceptHandler, raised: set[str]) -> bool:
    """Ends by raising, or keeps the error under a name that is raised later in the file."""
    if isinstance(handler.body[-1], ast.Raise):
        return True
    kept = {
        target.id
        for node in ast.walk(handler)
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Name)
        and node.value.id == handler.name
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    return bool(kept & raised)


def comments(source: Source) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(source.text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def unfinished(source: Source) -> Iterator[Fault]:
    """No marks of work left over in comments, and no stubs.

    A hookspec has no body by nature, a contract suite's `make` is the plugin author's to write, and
    a test's double may refuse what its test does not need.
    """
    for line, comment in comments(source):
        if mark := MARKS.search(comment):
            yield source.fault(line, f"{mark[0]}: do it, or file it as an issue")
    if not source.in_package or source.path.is_relative_to("bamboo_mcp/testing/contracts"):
        return
    for _, function in functions(source):
        if any(
            isinstance(mark, ast.Name) and mark.id == "hookspec" for mark in decorators(function)
        ):
            continue
        for node in function.body:
            match node:
                case (
                    ast.Raise(exc=ast.Name(id="NotImplementedError"))
                    | ast.Raise(exc=ast.Call(func=ast.Name(id="NotImplementedError")))
                ):
                    yield source.fault(node, "a stub: write it, or leave the name out")


def decorators(function: Function) -> list[ast.expr]:
    return [mark.func if isinstance(mark, ast.Call) else mark for mark in function.decorator_list]


def sleeps(source: Source) -> Iterator[Fault]:
    """A test waits for an event, never for time to pass. `sleep(0)` yields and may stay.

    Something outside the process may be polled where no event reaches us: the loop says so beside
    its condition, as `polls: why`, or with ruff's ASYNC110 as `noqa: ASYNC110 (why)`.
    """
    parts = source.path.parts
    if parts[0] != "tests" or "benchmarks" in parts:
        return
    explained = {
        line
        for line, comment in comments(source)
        if "ASYNC110 (" in comment or "polls: " in comment
    }
    polls = {
        id(inner)
        for node in ast.walk(source.tree)
        if isinstance(node, ast.While) and node.lineno in explained
        for inner in ast.walk(node)
    }
    for node in ast.walk(source.tree):
        match node:
            case ast.Call(args=[ast.Constant(value=0)]):
                continue
            case ast.Call(
                func=ast.Attribute(attr="sleep" | "sleep_until") | ast.Name(id="sleep")
            ) if id(node) not in polls:
                yield source.fault(node, "sleeps: wait on an event under anyio.fail_after")


RULES: tuple[Rule, ...] = (
    file_length,
    function_length,
    confinement,
    table_of_contents_line,
    names,
    broad_excepts,
    unfinished,
    sleeps,
)


def faults(source: Source) -> list[Fault]:
    return [fault for rule in RULES for fault in rule(source)]
