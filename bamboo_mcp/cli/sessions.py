"""`bamboo-mcp sessions`: list, read, search, prune and export what a home folder has of them."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import click
import msgspec

from bamboo_mcp.cli.options import invocation, settings_options
from bamboo_mcp.cli.plain_text import printable, short
from bamboo_mcp.cli.session_export import (
    FORMATS,
    as_json_lines,
    as_markdown,
    moment,
)
from bamboo_mcp.domain.errors import BambooError, InvalidInput, UnknownId
from bamboo_mcp.domain.ids import SessionId
from bamboo_mcp.domain.runs import TERMINAL
from bamboo_mcp.domain.sessions import Session, SessionHit, SessionMeta

if TYPE_CHECKING:
    from bamboo_mcp.app.storage import Storage

_DAY_S = 86_400.0
_BATCH = 200
_SHOWN = 20

T = TypeVar("T")

json_option = click.option("--json", "as_json", is_flag=True, help="JSON lines, for programs.")


@click.group()
def sessions() -> None:
    """List, read, search, prune and export sessions: conversations that are kept."""


@sessions.command("list")
@settings_options
@click.option("--limit", type=click.IntRange(min=1), default=_SHOWN, show_default=True)
@json_option
def list_sessions(limit: int, as_json: bool) -> None:
    """The newest sessions, a line each."""

    async def look(storage: Storage) -> list[tuple[SessionHit, Session]]:
        metas = await storage.sessions.list_sessions(limit=limit)
        return await _ends(storage, [SessionHit(meta=meta) for meta in metas])

    _print_list(_with_storage(look), as_json)


@sessions.command()
@settings_options
@click.argument("query", nargs=-1, required=True)
@click.option("--limit", type=click.IntRange(min=1), default=_SHOWN, show_default=True)
@json_option
def search(query: tuple[str, ...], limit: int, as_json: bool) -> None:
    """The sessions that have all the words of QUERY in title or messages, the best first.

    A word also finds longer ones that begin with it; '"words in quotes"' must follow each other.
    """

    async def look(storage: Storage) -> tuple[list[tuple[SessionHit, Session]], int]:
        found = await storage.sessions.search(" ".join(query), limit=limit)
        while found.unread:  # each goes on where the one before had no more time
            click.echo(f"{found.unread} sessions are still to be read …", err=True)
            before = found.unread
            found = await storage.sessions.search(" ".join(query), limit=limit)
            if found.unread >= before:
                break
        return await _ends(storage, found.hits), found.unread

    lines, unread = _with_storage(look)
    _print_list(lines, as_json)
    if unread:
        click.secho(f"{unread} sessions could not be searched", fg="yellow", err=True)


@sessions.command()
@settings_options
@click.argument("session_id")
@click.option("--offset", type=int, default=0, help="First message; negative: from the end.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many messages.")
@json_option
def show(session_id: str, offset: int, limit: int | None, as_json: bool) -> None:
    """A session and its messages."""
    load = partial(_load, session_id, offset, limit)
    session = _with_storage(load)
    lines = as_json_lines(session) if as_json else as_markdown(session)
    for line in lines:
        click.echo(line if as_json else printable(line), nl=False)
    following = session.offset + (limit or session.total)
    if following < session.total and not as_json:
        click.echo(f"\nmore: --offset {following}", err=True)


@sessions.command()
@settings_options
@click.argument("session_id")
@click.option("--format", "form", type=click.Choice(FORMATS), help="[default: as FILE ends]")
@click.option(
    "-o", "--output", "file", type=click.Path(path_type=Path), help="A new file; else: the screen."
)
def export(session_id: str, form: str | None, file: Path | None) -> None:
    """A whole session as JSON lines or Markdown."""
    if form is None:
        form = "markdown" if file is not None and file.suffix in (".md", ".markdown") else "jsonl"
    session = _with_storage(partial(_load, session_id, 0, None))
    text = "".join(as_markdown(session) if form == "markdown" else as_json_lines(session))
    if file is None:
        click.echo(text.encode(), nl=False)
        return
    try:
        # Conversations are their owner's alone; a file that is there is somebody's work.
        fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise InvalidInput(
            f"{str(file)!r} cannot be made: {error.strerror}", hint="Name a file that is not there."
        ) from error
    with os.fdopen(fd, "w", encoding="utf-8", newline="\n") as out:
        out.write(text)
    click.echo(f"{session.total} messages: {file}", err=True)


@sessions.command()
@settings_options
@click.option(
    "--older-than",
    "days",
    type=click.FloatRange(min=0),
    required=True,
    metavar="DAYS",
    help="Those in which nothing was said for so long.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_context
def prune(context: click.Context, days: float, yes: bool) -> None:
    """Delete old sessions for good, after showing which and asking.

    Pinned ones stay, and those with a run under way.
    """
    before = time.time() - days * _DAY_S
    doomed = _with_storage(partial(_older_than, before))
    if not doomed:
        click.echo("nothing to prune")
        return
    _print_list(doomed, as_json=False)
    if not yes:
        click.confirm(f"Delete these {len(doomed)} sessions?", abort=True, err=True)
    ids = [end.meta.session_id for _, end in doomed]
    kept = _with_storage(partial(_delete, ids, before))
    click.echo(f"{len(doomed) - len(kept)} sessions deleted")
    for line in kept:
        click.secho(printable(line), fg="yellow", err=True)
    if kept:
        context.exit(1)


async def _load(session_id: str, offset: int, limit: int | None, storage: Storage) -> Session:
    return await storage.sessions.load(SessionId(session_id), offset=offset, limit=limit)


async def _ends(storage: Storage, hits: Sequence[SessionHit]) -> list[tuple[SessionHit, Session]]:
    """Each with its last message, which tells when it was last spoken in."""
    found: list[tuple[SessionHit, Session]] = []
    for hit in hits:
        try:
            end = await storage.sessions.load(hit.meta.session_id, offset=-1)
        except UnknownId:
            continue  # deleted meanwhile
        found.append((hit, end))
    return found


async def _older_than(before: float, storage: Storage) -> list[tuple[SessionHit, Session]]:
    """Sessions to prune, the newest first."""
    found: list[tuple[SessionHit, Session]] = []
    page: float | None = None
    while batch := await storage.sessions.list_sessions(limit=_BATCH, before=page):
        page = batch[-1].created_at
        old = [meta for meta in batch if meta.created_at < before and not meta.pinned]
        for hit, end in await _ends(storage, [SessionHit(meta=meta) for meta in old]):
            if await _is_prunable(storage, end, before):
                found.append((hit, end))
    return found


async def _is_prunable(storage: Storage, end: Session, before: float) -> bool:
    return not end.meta.pinned and end.updated_at < before and not await _busy(storage, end.meta)


async def _busy(storage: Storage, meta: SessionMeta) -> bool:
    if meta.run_id is None:
        return False
    try:
        return (await storage.board.state(meta.run_id)).status not in TERMINAL
    except UnknownId:
        return False


async def _delete(ids: Sequence[SessionId], before: float, storage: Storage) -> list[str]:
    """Delete sessions that are still as old as they were shown; says which are not, and why."""
    kept: list[str] = []
    for session_id in ids:
        try:
            if not await _is_prunable(
                storage, await storage.sessions.load(session_id, offset=-1), before
            ):
                kept.append(f"{session_id} stays: it was used meanwhile")
                continue
            await storage.sessions.delete(session_id)
        except UnknownId:
            continue  # somebody else deleted it
        except BambooError as error:
            kept.append(f"{session_id} stays: {error.message}")
    return kept


def _print_list(lines: Sequence[tuple[SessionHit, Session]], as_json: bool) -> None:
    if as_json:
        for hit, end in lines:
            click.echo(msgspec.json.encode(_plain(hit, end)))
        return
    if not lines:
        click.echo("no sessions", err=True)
        return
    width = _width()
    for hit, end in lines:
        pin = "*" if end.meta.pinned else " "
        when = moment(end.updated_at)
        head = f"{end.meta.session_id} {pin} {when:16} {end.total:6}  "
        # Ids are to be copied whole; what is left of the line is the title's.
        title = short(end.meta.title or "(no title)", max(20, width - len(head)))
        click.echo(f"{head}{title}")
        if hit.excerpt:
            click.secho(f"    {short(hit.excerpt, max(20, width - 4))}", dim=True)


def _width() -> int:
    import shutil

    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 1000


def _plain(hit: SessionHit, end: Session) -> dict[str, Any]:
    """Complete: a program should not have to know our defaults."""
    meta = end.meta
    return {
        "session_id": meta.session_id,
        "title": meta.title,
        "pinned": meta.pinned,
        "created_at": meta.created_at,
        "updated_at": end.updated_at,
        "messages": end.total,
        "model": meta.chosen_model,
        "parent_id": meta.parent_id,
        "excerpt": hit.excerpt,
    }


def _with_storage(work: Callable[[Storage], Coroutine[Any, Any, T]]) -> T:
    """Open the home folder, beside servers that may be using it, for the time of `work`."""
    from bamboo_mcp.app.upkeep import open_storage

    async def opened() -> T:
        async with open_storage(settings) as storage:
            return await work(storage)

    settings = invocation().settings()
    return anyio.run(opened)
