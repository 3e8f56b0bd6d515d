"""The routes of the HTTP server, behind its gates: `/mcp`, `/healthz`, `/metrics`, run events."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Sequence

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bamboo_mcp.domain.ids import RunId
from bamboo_mcp.server.http_callers import subject_of
from bamboo_mcp.server.http_events import EventStreams
from bamboo_mcp.server.http_replies import Refusal, refuse, reply, reply_json
from bamboo_mcp.server.metrics import TEXT, Family, Source, Tally, exposition
from bamboo_mcp.server.run_feeds import RunFeeds

logger = logging.getLogger(__name__)

MCP_PATH = "/mcp"

_EVENTS = re.compile(r"/runs/([A-Za-z0-9_-]+)/events")


class Routes:
    """Sends a request where it belongs. Set `stopping` when no new work shall be sent here."""

    def __init__(
        self,
        *,
        mcp: ASGIApp,
        streams: EventStreams,
        feeds: RunFeeds,
        tally: Tally,
        sources: Sequence[Source],
        version: str,
    ) -> None:
        self._mcp = mcp
        self._streams = streams
        self._feeds = feeds
        self._tally = tally
        self._sources = sources
        self._version = version
        self._answers: Counter[int] = Counter()
        self.stopping = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if path == MCP_PATH:
            await self._mcp(scope, receive, self._counted(send))
        elif scope["method"] not in ("GET", "HEAD"):
            await refuse(send, _ONLY_GET if self._known(path) else _nowhere(path))
        elif path == "/healthz":
            await self._health(send)
        elif path == "/metrics":
            await reply(send, exposition(self._families()), TEXT)
        elif found := _EVENTS.fullmatch(path):
            run_id = RunId(found[1])
            await self._streams.serve(run_id, subject_of(scope), scope, receive, send)
        else:
            await refuse(send, _nowhere(path))

    def _known(self, path: str) -> bool:
        return path in ("/healthz", "/metrics") or _EVENTS.fullmatch(path) is not None

    async def _health(self, send: Send) -> None:
        said = {
            "status": "stopping" if self.stopping else "ok",
            "version": self._version,
            "uptime_s": round(self._tally.uptime_s, 3),
        }
        await reply_json(send, said, status=503 if self.stopping else 200)

    def _counted(self, send: Send) -> Send:
        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._answers[message["status"]] += 1
            await send(message)

        return counting

    def _families(self) -> list[Family]:
        answers = [
            ((("status", str(code)),), float(n)) for code, n in sorted(self._answers.items())
        ]
        families = [
            *self._tally.families(),
            Family(
                name="bamboo_mcp_answers_total",
                help="Answers of the MCP endpoint, by HTTP status.",
                kind="counter",
                samples=answers,
            ),
            Family(
                name="bamboo_watchers",
                help="Open streams of run events.",
                kind="gauge",
                samples=[((), float(self._feeds.watchers))],
            ),
        ]
        for source in self._sources:
            try:
                families += source()
            except Exception:
                logger.exception("a source of metrics failed")
        return families


_ONLY_GET = Refusal(
    status=405,
    code="only_get",
    message="this address is read with GET",
    headers=((b"allow", b"GET, HEAD"),),
)


def _nowhere(path: str) -> Refusal:
    return Refusal(
        status=404,
        code="no_such_path",
        message=f"there is no {path[:200]!r} here",
        hint=f"MCP is at {MCP_PATH}; beside it are /healthz, /metrics and /runs/RUN_ID/events.",
    )
