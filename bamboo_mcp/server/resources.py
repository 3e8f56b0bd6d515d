"""What happens here as MCP resources, read and watched: subagents, results, sessions, runs.

Everybody sees their own. A client that subscribed is told that there is something new to read, in
both eras: `resources/subscribe`, and `subscriptions/listen`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from typing import Any

import anyio
import mcp_types
import msgspec
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError

from bamboo_mcp.control.inspected import details, transcript_message
from bamboo_mcp.control.paging import page_before, page_token
from bamboo_mcp.domain.errors import BambooError, UnknownId
from bamboo_mcp.domain.events import (
    EventRecord,
    ModelAnswered,
    QuestionAnswered,
    QuestionAsked,
    RoundStarted,
    RunEnded,
    RunQueued,
    RunStarted,
    SteerDelivered,
    SteerQueued,
    ToolFinished,
    ToolStarted,
)
from bamboo_mcp.domain.ids import LOCAL, RunId, SessionId, SubagentId, Subject
from bamboo_mcp.domain.runs import RunState
from bamboo_mcp.domain.subagents import Subagent
from bamboo_mcp.ports import EventLog, Runs, SubagentPort
from bamboo_mcp.server.changes import Changes
from bamboo_mcp.server.context import sender_of
from bamboo_mcp.server.run_feeds import line_of
from bamboo_mcp.server.visibility import Visibility

logger = logging.getLogger(__name__)

Context = ServerRequestContext[Any, Any]
Listen = Callable[..., Callable[[], None]]
"""Be told of every event of some kinds; `EventLog`s of ours have it."""

_URI = re.compile(
    r"bamboo://(?:subagents/(?P<subagent>\w+)(?P<result>/result)?"
    r"|sessions/(?P<session>\w+)|runs/(?P<run>\w+)/events)(?:\?after=(?P<after>\d{1,15}))?"
)
_JSON, _LINES, _TEXT = "application/json", "application/jsonl", "text/plain"
_LISTED = 50
_MESSAGES = 200
_EVENTS_PAGE = 1_000

TOLD = frozenset(
    (
        *(RunQueued, RunStarted, RoundStarted, ModelAnswered, ToolStarted, ToolFinished),
        *(SteerQueued, SteerDelivered, QuestionAsked, QuestionAnswered, RunEnded),
    )
)
"""What makes a resource worth reading again; streamed text would, with every word."""

TEMPLATES = (
    ("subagents/{id}", "A subagent", _JSON, "What it was asked, its state, use and last activity."),
    ("subagents/{id}/result", "A result", _TEXT, "What a subagent answered, once it has ended."),
    ("sessions/{id}", "A session", _JSON, "A conversation: what is known of it, latest messages."),
    (
        "runs/{run_id}/events",
        "What happened in a run",
        _LINES,
        "One event a line. A long log ends early; read on with ?after=SEQ of the last line.",
    ),
)


class Resources:
    """The handlers of `resources/*`, and the task that tells subscribers (`tell`, run it once)."""

    def __init__(
        self,
        *,
        visibility: Visibility,
        subagents: SubagentPort,
        runs: Runs,
        log: EventLog,
        listen: Listen,
        changes: Changes,
        max_chars: int = 1_000_000,
        every_s: float = 0.5,
        caller: Subject = LOCAL,
    ) -> None:
        self._visibility = visibility
        self._subagents = subagents
        self._runs = runs
        self._log = log
        self._listen = listen
        self._changes = changes
        self._max_chars = max_chars
        self._every_s = every_s
        self._caller = caller
        self._wanted = anyio.Event()
        self._bell = anyio.Event()
        self._dirty: dict[RunId, bool] = {}
        """Runs with something new, and whether they ended."""

    @property
    def handlers(self) -> dict[str, Any]:
        """For the SDK's server."""
        return {
            "on_list_resources": self.list_resources,
            "on_list_resource_templates": self.list_templates,
            "on_read_resource": self.read,
            "on_subscribe_resource": self.subscribe,
            "on_unsubscribe_resource": self.unsubscribe,
        }

    async def list_resources(
        self, context: Context, params: mcp_types.PaginatedRequestParams | None
    ) -> mcp_types.ListResourcesResult:
        """The caller's subagents, newest first; the rest is found through the templates."""
        cursor = params.cursor if params is not None and params.cursor else ""
        try:
            found = await self._subagents.list_subagents(
                caller=self._sender(context), limit=_LISTED + 1, before=page_before(cursor)
            )
        except BambooError as error:
            raise MCPError(mcp_types.INVALID_PARAMS, error.message) from None
        listed = []
        for one in found[:_LISTED]:
            uri = f"bamboo://subagents/{one.subagent_id}"
            listed.append(_listed(one, uri, one.subagent_id, _JSON))
            if one.outcome is not None:
                listed.append(_listed(one, f"{uri}/result", f"{one.subagent_id}_result", _TEXT))
        more = page_token(found[_LISTED - 1].created_at) if len(found) > _LISTED else None
        return mcp_types.ListResourcesResult(resources=listed, next_cursor=more)

    async def list_templates(
        self, context: Context, params: mcp_types.PaginatedRequestParams | None
    ) -> mcp_types.ListResourceTemplatesResult:
        return mcp_types.ListResourceTemplatesResult(
            resource_templates=[
                mcp_types.ResourceTemplate(
                    name=path.partition("/")[0] + ("_result" if path.endswith("result") else ""),
                    title=title,
                    uri_template=f"bamboo://{path}",
                    mime_type=kind,
                    description=description,
                )
                for path, title, kind, description in TEMPLATES
            ]
        )

    async def read(
        self, context: Context, params: mcp_types.ReadResourceRequestParams
    ) -> mcp_types.ReadResourceResult:
        uri, caller = str(params.uri), self._sender(context)
        try:
            kind, text, meta = await self._content(uri, caller)
        except BambooError as error:
            raise _not_found(uri, error.message) from None
        except Exception:
            logger.exception("the resource %s could not be read", uri)
            message = "the resource could not be read; the server's log has the details"
            raise MCPError(mcp_types.INTERNAL_ERROR, message) from None
        contents = mcp_types.TextResourceContents(uri=uri, mime_type=kind, text=text, _meta=meta)
        return mcp_types.ReadResourceResult(contents=[contents])

    async def subscribe(
        self, context: Context, params: mcp_types.SubscribeRequestParams
    ) -> mcp_types.EmptyResult:
        uri = str(params.uri)
        try:
            await self._check(uri, self._sender(context))
        except BambooError as error:
            raise _not_found(uri, error.message) from None
        self._changes.subscribe(context, uri)
        self._wanted.set()
        return mcp_types.EmptyResult()

    async def unsubscribe(
        self, context: Context, params: mcp_types.UnsubscribeRequestParams
    ) -> mcp_types.EmptyResult:
        self._changes.unsubscribe(context, str(params.uri))
        return mcp_types.EmptyResult()

    async def listen(
        self, context: Context, params: mcp_types.SubscriptionsListenRequestParams
    ) -> mcp_types.SubscriptionsListenResult:
        """Serve a modern subscription, without the resources that this caller may not see."""
        asked = params.notifications.resource_subscriptions
        if asked:
            visible = []
            for uri in asked:
                try:
                    await self._check(uri, self._sender(context))
                except BambooError:
                    logger.debug("a subscription to %s is left out: it is not the caller's", uri)
                else:
                    visible.append(uri)
            kept = params.notifications.model_copy(update={"resource_subscriptions": visible})
            params = params.model_copy(update={"notifications": kept})
            self._wanted.set()
        return await self._changes.listen(context, params)

    async def tell(self) -> None:
        """Tell subscribers of what changes, for ever; costs nothing until somebody subscribes."""
        await self._wanted.wait()
        remove = self._listen(self._note, TOLD)
        try:
            while True:
                await self._bell.wait()
                self._bell = anyio.Event()
                dirty, self._dirty = self._dirty, {}
                for run_id, ended in dirty.items():
                    await self._tell_of(run_id, ended)
                await anyio.sleep(self._every_s)
        finally:
            remove()

    def _note(self, record: EventRecord) -> None:
        ended = type(record.event) is RunEnded
        self._dirty[record.run_id] = self._dirty.get(record.run_id, False) or ended
        self._bell.set()

    async def _tell_of(self, run_id: RunId, ended: bool) -> None:
        try:
            if ended:
                await self._log.flush(run_id)  # an end that is told must be safe
            state = await self._runs.state(run_id)
        except BambooError as error:
            logger.warning("subscribers are not told of run %s: %s", run_id, error)
            return
        for uri in uris_of(state, ended):
            await self._changes.resource_updated(uri)

    async def _check(self, uri: str, caller: Subject) -> None:
        """Raises `UnknownId` when there is no such thing that `caller` may see."""
        match _parts(uri):
            case {"subagent": str(name)}:
                await self._visibility.subagent(SubagentId(name), caller)
            case {"session": str(name)}:
                await self._visibility.session(SessionId(name), caller)
            case {"run": str(name)}:
                await self._visibility.run(RunId(name), caller)

    async def _content(self, uri: str, caller: Subject) -> tuple[str, str, dict[str, Any] | None]:
        parts = _parts(uri)
        match parts:
            case {"subagent": str(name), "result": str()}:
                return _TEXT, await self._result(SubagentId(name), caller), None
            case {"subagent": str(name)}:
                return _JSON, await self._subagent(SubagentId(name), caller), None
            case {"session": str(name)}:
                return _JSON, await self._session(SessionId(name), caller), None
            case {"run": str(name)}:
                return await self._events(RunId(name), caller, int(parts.get("after") or 0))
            case _:
                raise UnknownId(f"there is no resource {uri!r}")

    async def _subagent(self, subagent_id: SubagentId, caller: Subject) -> str:
        one = await self._visibility.subagent(subagent_id, caller)
        shown = {"subagent_id": one.subagent_id, "status": one.status, "details": details(one)}
        return msgspec.json.encode(shown).decode()

    async def _result(self, subagent_id: SubagentId, caller: Subject) -> str:
        one = await self._visibility.subagent(subagent_id, caller)
        if one.outcome is None:
            raise UnknownId(f"{subagent_id} is {one.status}: it has no result yet")
        return one.outcome.text or one.outcome.error

    async def _session(self, session_id: SessionId, caller: Subject) -> str:
        session = await self._visibility.session(
            session_id, caller, offset=-_MESSAGES, limit=_MESSAGES
        )
        meta = session.meta
        messages = enumerate(session.messages, start=session.offset)
        shown = {
            "session_id": meta.session_id,
            "title": meta.title,
            "pinned": meta.pinned,
            "created_at": meta.created_at,
            "updated_at": meta.updated_at,
            "model": meta.model,
            "subagent_id": meta.subagent_id,
            "parent_id": meta.parent_id,
            "run_id": meta.run_id,
            "total": session.total,
            "messages": [transcript_message(index, message) for index, message in messages],
        }
        return msgspec.json.encode(shown).decode()

    async def _events(
        self, run_id: RunId, caller: Subject, after: int
    ) -> tuple[str, str, dict[str, Any] | None]:
        """Lines up to the bound; where to read on is in the meta when it cut them off."""
        await self._visibility.run(run_id, caller)
        lines: list[bytes] = []
        room = self._max_chars
        while records := await self._log.read(run_id, after=after, limit=_EVENTS_PAGE):
            for record in records:
                line = line_of(record)
                room -= len(line)
                if room < 0 and lines:
                    return _LINES, b"\n".join(lines).decode(), {"bamboo/nextAfter": after}
                lines.append(line)
                after = record.seq
        return _LINES, b"\n".join(lines).decode(), None

    def _sender(self, context: Context) -> Subject:
        return sender_of(context) or self._caller


def _listed(subagent: Subagent, uri: str, name: str, kind: str) -> mcp_types.Resource:
    title = subagent.spec.title or " ".join(subagent.spec.task.split())[:60]
    return mcp_types.Resource(
        name=name, uri=uri, title=f"{title} ({subagent.status})", mime_type=kind
    )


def uris_of(state: RunState, ended: bool) -> list[str]:
    """The resources that show something of a run."""
    uris = [f"bamboo://runs/{state.run_id}/events"]
    if state.session_id:
        uris.append(f"bamboo://sessions/{state.session_id}")
    if state.subagent_id:
        uris.append(f"bamboo://subagents/{state.subagent_id}")
        if ended:
            uris.append(f"bamboo://subagents/{state.subagent_id}/result")
    return uris


def _parts(uri: str) -> Mapping[str, str | None]:
    found = _URI.fullmatch(uri)
    if found is None:
        raise UnknownId(f"there is no resource {uri[:200]!r}")
    return {name: value for name, value in found.groupdict().items() if value is not None}


def _not_found(uri: str, why: str) -> MCPError:
    return MCPError(mcp_types.INVALID_PARAMS, why, {"uri": uri})
