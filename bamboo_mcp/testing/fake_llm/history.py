"""Which conversation a request goes on with: the wire does not say, its history does."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from bamboo_mcp.domain.messages import Message, ReasoningBlock
from bamboo_mcp.domain.models import ModelRequest

_MOST_TURNS = 20_000
TRIES_AGAIN_S = 60.0
"""A client that tries again does so within this time."""

_encode = msgspec.json.Encoder().encode


class Turn:
    """One request, the conversation it belongs to, and what became of its answer."""

    __slots__ = ("at", "call_ids", "continued", "conversation", "outcome", "text", "whose")

    def __init__(self, conversation: str, at: float, whose: tuple[str, str]) -> None:
        self.conversation = conversation
        self.at = at
        self.whose = whose
        self.outcome: Literal["under_way", "received", "broken"] = "under_way"
        self.continued = False
        self.text = ""
        self.call_ids: frozenset[str] = frozenset()

    def end(self, whole: bool) -> None:
        self.outcome = "received" if whole else "broken"

    def likeness(self, echo: Message) -> tuple[bool, bool, bool]:
        """How well what the client sends back as the model's words fits what was said here."""
        called = frozenset(call.id for call in echo.tool_calls)
        return called == self.call_ids, echo.text == self.text, not self.continued


class Histories:
    """Finds the conversation of each request.

    It is the one whose last request is the beginning of this one. A request without such a
    beginning opens a conversation, unless it repeats one whose answer failed: that is the client
    trying again, if it does so within `TRIES_AGAIN_S` and by the same API and model. Bounded: the
    oldest turns are forgotten, and `forget` is told of their conversations.
    """

    def __init__(
        self,
        forget: Callable[[str], None],
        *,
        most: int = _MOST_TURNS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._forget = forget
        self._most = most
        self._opened = 0
        self._turns: OrderedDict[bytes, list[Turn]] = OrderedDict()
        self._alive: dict[str, int] = {}

    def turn(self, request: ModelRequest, *, api: str = "", is_retry: bool = False) -> Turn:
        digests, whose = _digests(request), (api, request.model)
        turn = Turn(self._conversation(request, digests, whose, is_retry), self._clock(), whose)
        self._turns.setdefault(digests[-1], []).append(turn)
        self._turns.move_to_end(digests[-1])
        self._alive[turn.conversation] = self._alive.get(turn.conversation, 0) + 1
        while len(self._turns) > self._most:
            _, oldest = self._turns.popitem(last=False)
            for one in oldest:
                self._release(one)
        return turn

    def _conversation(
        self,
        request: ModelRequest,
        digests: Sequence[bytes],
        whose: tuple[str, str],
        is_retry: bool,
    ) -> str:
        again = self._turns.get(digests[-1], [])
        for turn in reversed(again):
            if turn.whose != whose or self._clock() - turn.at > TRIES_AGAIN_S:
                continue  # somebody else's, or of somebody who has given up
            if turn.outcome == "broken" or (is_retry and not turn.continued):
                again.remove(turn)
                self._release(turn, for_good=False)
                return turn.conversation
        for place in range(len(request.messages) - 1, -1, -1):
            echo = request.messages[place]
            if echo.role == "assistant" and (before := self._turns.get(digests[place])):
                turn = max(before, key=lambda one: one.likeness(echo))
                turn.continued = True
                return turn.conversation
        self._opened += 1
        return f"conversation {self._opened}"

    def _release(self, turn: Turn, *, for_good: bool = True) -> None:
        left = self._alive.pop(turn.conversation) - 1
        if left:
            self._alive[turn.conversation] = left
        elif for_good:
            self._forget(turn.conversation)


def _digests(request: ModelRequest) -> list[bytes]:
    """A digest of the history's beginnings: the one at N is of the first N messages.

    Reasoning is left out, for clients may drop it, and so is the name of a tool in its result.
    """
    digest = hashlib.blake2b(request.system.encode(errors="replace"), digest_size=16)
    digests = [digest.digest()]
    for message in request.messages:
        blocks = [block for block in message.blocks if not isinstance(block, ReasoningBlock)]
        digest.update(_encode([message.role, blocks]))
        digests.append(digest.digest())
    return digests
