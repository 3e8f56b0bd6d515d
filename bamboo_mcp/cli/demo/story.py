"""What the demo does: a real MCP client that spawns, steers, answers, awaits, reads and cancels."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import anyio
from mcp import Client
from rich.markup import escape

from bamboo_mcp.cli.demo.timeline import Timeline

RANKING = "Count the Python files of this repository and rank them by size, largest first."
MARKS = "Find the TODO and FIXME marks in this repository and say where they are."
WATCHING = "Watch this repository for an hour and report what changes."
STEERING = "Also write it to a file: RANKING.md"

PAGE_CHARS = 1_500
PATIENCE_S = 600.0
"""How long the story may take with a real model; the scripted one needs a few seconds."""


class DemoFailed(Exception):
    """The server answered a call of the story with an error."""


class Story:
    """One telling. `timeline` gets a line for everything that happens."""

    def __init__(self, client: Client, timeline: Timeline, *, model: str) -> None:
        self._client = client
        self._timeline = timeline
        self._model = model
        self._names: dict[str, str] = {}

    async def tell(self) -> None:
        ranking = await self._spawn("ranking", RANKING)
        marks = await self._spawn("marks", MARKS)
        watching = await self._spawn("watching", WATCHING)
        await self._until_working(ranking)
        await self._steer(ranking, STEERING)
        await self._finish([ranking, marks])
        await self._read_pages(ranking)
        await self._cancel(watching)
        await self._look_back(ranking)

    async def _spawn(self, name: str, task: str) -> str:
        answer = await self._call(
            "spawn_subagent",
            {
                "task": task,
                "title": name,
                "model": self._model,
                "permission_mode": "default",
                "limits": {"max_rounds": 40, "timeout_s": PATIENCE_S},
            },
        )
        subagent_id: str = answer["subagent_id"]
        self._names[subagent_id] = name
        self._timeline.note("client", f"spawns [b]{name}[/b]: {task}")
        return subagent_id

    async def _until_working(self, subagent_id: str) -> None:
        """Wait until the subagent has called its first tool, so that the message comes mid-run."""
        with anyio.fail_after(PATIENCE_S):
            while True:
                answer = await self._call(
                    "get_subagent", {"subagent_id": subagent_id, "include": ["status", "events"]}
                )
                kinds = [event.get("kind") for event in answer.get("events", [])]
                if "tool_finished" in kinds or answer.get("status") not in ("pending", "running"):
                    return
                await anyio.sleep(0.1)

    async def _steer(self, subagent_id: str, message: str) -> None:
        answer = await self._call(
            "steer_subagent", {"subagent_id": subagent_id, "message": message}
        )
        self._timeline.note(
            "client", f"steers {self._names[subagent_id]} mid-run: “{message}” → {answer['state']}"
        )

    async def _finish(self, subagent_ids: Sequence[str]) -> None:
        """Await them all; answer what they ask on the way, as a person would."""
        arguments: dict[str, Any] = {"subagent_ids": list(subagent_ids), "timeout_s": 20}
        until = time.monotonic() + PATIENCE_S
        told: set[str] = set()
        while time.monotonic() < until:
            answer = await self._call("await_subagents", arguments)
            for one in answer["subagents"]:
                await self._hear(one, told)
            if answer["done"] and len(told) == len(subagent_ids):
                return
            arguments["cursor"] = answer["cursor"]
        raise DemoFailed(f"the subagents were not done after {PATIENCE_S:g} s")

    async def _hear(self, one: Mapping[str, Any], told: set[str]) -> None:
        name = self._names[one["subagent_id"]]
        if question := one.get("question"):
            lines = [line.strip() for line in str(question["text"]).splitlines() if line.strip()]
            self._timeline.note(name, f"asks: {escape(' '.join(lines[:2]))}")
            await self._call(
                "answer_subagent",
                {
                    "subagent_id": one["subagent_id"],
                    "question_id": question["question_id"],
                    "decision": "allow_once",
                },
            )
            self._timeline.note("client", f"answers {name}: yes, this once")
        elif one["status"] not in ("pending", "running", "waiting") and name not in told:
            told.add(name)
            usage = one.get("usage") or {}
            tokens = int(usage.get("input", 0)) + int(usage.get("output", 0))
            self._timeline.note(name, f"ends: [b]{one['status']}[/b], {tokens} tokens")
            self._timeline.result(name, one["status"], one.get("result") or {}, usage)

    async def _read_pages(self, subagent_id: str) -> None:
        offset: int | None = 0
        pages = characters = 0
        while offset is not None:
            answer = await self._call(
                "get_subagent",
                {
                    "subagent_id": subagent_id,
                    "include": ["result"],
                    "offset": offset,
                    "limit": PAGE_CHARS,
                },
            )
            result = answer["result"]
            pages += 1
            characters += len(result["text"])
            offset = result.get("next_offset")
        name = self._names[subagent_id]
        self._timeline.note(
            "client", f"reads the result of {name}: {characters} characters on {pages} pages"
        )

    async def _cancel(self, subagent_id: str) -> None:
        began = time.monotonic()
        answer = await self._call(
            "cancel_subagent", {"subagent_id": subagent_id, "reason": "the demo is over"}
        )
        took = time.monotonic() - began
        status = answer["stopped"][0]["status"]
        name = self._names[subagent_id]
        self._timeline.note("client", f"cancels {name}: {status} after {took:.2f} s")
        self._timeline.result(name, status, {"text": "(cancelled before it had a result)"}, {})

    async def _look_back(self, subagent_id: str) -> None:
        """Take what the server recorded of the steered subagent into the timeline."""
        answer = await self._call(
            "get_subagent", {"subagent_id": subagent_id, "include": ["status", "steers"]}
        )
        for steer in answer["steers"]:
            landed = f" in round {steer['round']}" if steer.get("round") else ""
            self._timeline.note(
                self._names[subagent_id],
                f"the message sent mid-run ended as [b]{steer['state']}[/b]{landed}",
            )

    async def _call(self, tool: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        result = await self._client.call_tool(
            tool, {k: v for k, v in arguments.items() if v != ""}, read_timeout_seconds=90
        )
        if result.is_error:
            text = " ".join(getattr(block, "text", "") for block in result.content)
            raise DemoFailed(f"{tool} failed: {text}")
        return dict(result.structured_content or {})
