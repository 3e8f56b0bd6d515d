"""A key planted in a server, and the search for it in all that came out."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mcp_types
import msgspec
import psutil

from tests.journeys.harness import Agent, Place

# Of no well-known shape: what keeps it out is that it is known, not that it looks like a key.
KEY = "canary7f3a9c51e2d84b60aa17c9d0e5f1b2c8"
HALVES = (KEY[:16].encode(), KEY[-16:].encode())
MODEL = "work:claude-opus-5-5"

FORMS = ("env", "file", "keyring", "cmd")

KEYRING = """
from keyring.backend import KeyringBackend

class Keyring(KeyringBackend):
    priority = 1

    def get_password(self, service, username):
        return {key!r} if (service, username) == ("bamboo", "work") else None

    def set_password(self, service, username, password):
        raise NotImplementedError
"""


class Planted:
    """Where the key is, in one of the forms: outside of home and workspace, as people have it."""

    def __init__(self, tmp_path: Path, form: str) -> None:
        own = tmp_path / "own"
        own.mkdir()
        self.env: dict[str, str] = {"ANTHROPIC_LOG": "debug", "BAMBOO_LOGGING__LEVEL": "debug"}
        match form:
            case "env":
                self.env["WORK_KEY"] = KEY
                self.reference = "env:WORK_KEY"
            case "file":
                (own / "key").write_text(f"{KEY}\n", encoding="utf-8")
                self.reference = f"file:{own / 'key'}"
            case "keyring":
                (own / "planted_keyring.py").write_text(KEYRING.format(key=KEY), encoding="utf-8")
                self.env |= {
                    "PYTHONPATH": str(own),
                    "PYTHON_KEYRING_BACKEND": "planted_keyring.Keyring",
                }
                self.reference = "keyring:bamboo/work"
            case _:
                text = f"import sys; print({KEY!r}, file=sys.stderr); print({KEY!r})"
                (own / "give_key.py").write_text(text, encoding="utf-8")
                self.reference = f"cmd:'{sys.executable}' '{own / 'give_key.py'}'"

    def configure(self, place: Place, base_url: str) -> None:
        lines = [
            "[permissions]",
            "allow_commands = true",
            "[providers.work]",
            'type = "anthropic"',
            f"base_url = {msgspec.json.encode(base_url).decode()}",
            f"api_key = {msgspec.json.encode(self.reference).decode()}",
        ]
        place.config.write_text("\n".join(lines), encoding="utf-8")


class Everything:
    """All that came out of the server."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.said: list[str] = []

    def hear(self, agent: Agent) -> None:
        """Keep the raw form of every answer from here on."""
        ask = agent.client.call_tool

        async def call_tool(tool: str, arguments: dict[str, Any]) -> mcp_types.CallToolResult:
            result = await ask(tool, arguments)
            self.said.append(result.model_dump_json())
            return result

        agent.client.call_tool = call_tool  # type: ignore[method-assign, assignment]

    def see_processes(self) -> None:
        here = psutil.Process()
        for process in (here, *here.children(recursive=True)):
            try:
                self.said.append(" ".join(process.cmdline()))
            except psutil.Error:  # gone meanwhile
                continue

    def sources(self) -> Iterator[tuple[str, bytes]]:
        yield "answers and command lines", "\n".join(self.said).encode()
        yield "standard error", self.place.errors.read_bytes()
        for folder in (self.place.home, self.place.workspace):
            for path in folder.rglob("*"):
                if path.is_file():
                    yield str(path), path.read_bytes() + str(path).encode()

    def assert_clean(self) -> None:
        shown = [
            f"{name}: {content[max(0, at - 200) : at + 60]!r}"
            for name, content in self.sources()
            for half in HALVES
            for at in _places(half, content)
        ]
        assert not shown, "the key is in " + "\n".join(shown)


def _places(part: bytes, content: bytes) -> Iterator[int]:
    at = content.find(part)
    while at >= 0:
        yield at
        at = content.find(part, at + 1)
