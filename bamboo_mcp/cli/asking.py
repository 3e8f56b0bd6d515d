"""Questions of a run, put to the person at the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import click

from bamboo_mcp.cli.plain_text import printable
from bamboo_mcp.domain.questions import Answer, Decision, Question

NOBODY = (
    "nobody is there to answer: standard input is not a terminal. `run --mode accept_edits` lets "
    "files be changed unasked; commands ask in every mode but bypass"
)

_WORDS: Mapping[str, Decision] = {
    "y": "allow_once",
    "yes": "allow_once",
    "s": "allow_session",
    "session": "allow_session",
    "n": "deny",
    "no": "deny",
}


class Lines(Protocol):
    def forget(self) -> None:
        """Drop what was typed so far."""
        ...

    async def read_line(self) -> str | None: ...


class Asker(Protocol):
    """Gets an answer. May be cancelled while it waits, when the question is no longer open."""

    async def ask(self, question: Question) -> Answer: ...


class NobodyThere:
    """Denies at once and says why; not in a person's name."""

    async def ask(self, question: Question) -> Answer:
        return Answer(decision="deny", by="closed", reason=NOBODY)


class Person:
    """Asks on standard error and reads the answer from the terminal."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    async def ask(self, question: Question) -> Answer:
        click.secho(f"\n? {printable(question.text)}", fg="yellow", err=True)
        if question.topic == "permission":
            return await self._permission()
        return await self._choice(question)

    async def _permission(self) -> Answer:
        # An answer typed before the question was shown would allow something unread.
        self._lines.forget()
        while True:
            typed = await self._prompt("Allow? y = once, s = for this session, n = no: ")
            if typed is None:
                return _CLOSED
            decision = _WORDS.get(typed.strip().lower())
            if decision is not None:
                reason = "the person at the terminal said no" if decision == "deny" else ""
                return Answer(decision=decision, by="person", reason=reason)

    async def _choice(self, question: Question) -> Answer:
        for number, option in enumerate(question.options, start=1):
            click.echo(f"  {number} {printable(option)}", err=True)
        while True:
            typed = await self._prompt("Your answer: ")
            if typed is None:
                return _CLOSED
            text = typed.strip()
            if text.isdecimal() and 1 <= int(text) <= len(question.options):
                text = question.options[int(text) - 1]
            if text:
                return Answer(decision="allow_once", text=text, by="person")

    async def _prompt(self, words: str) -> str | None:
        click.secho(words, fg="yellow", err=True, nl=False)
        typed = await self._lines.read_line()
        if typed is None:
            click.echo(err=True)
        return typed


_CLOSED = Answer(decision="deny", by="person", reason="the person at the terminal closed the input")
