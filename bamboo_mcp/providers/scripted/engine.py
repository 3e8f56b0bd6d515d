"""Plays a script: finds the step that answers a request, each conversation on its own walk."""

from __future__ import annotations

import re
from collections.abc import Sequence

from bamboo_mcp.domain.errors import InvalidInput
from bamboo_mcp.domain.models import ModelRequest
from bamboo_mcp.domain.provider_errors import UnmatchedRequest
from bamboo_mcp.providers.playback import Playback
from bamboo_mcp.providers.scripted.answers import (
    CompiledResponder,
    CompiledStep,
    Filled,
    Responder,
)
from bamboo_mcp.providers.scripted.match import Condition, explain
from bamboo_mcp.providers.scripted.steps import Step, Track
from bamboo_mcp.providers.scripted.values import Asked

__all__ = ["CompiledTrack", "Engine", "Responder", "compile_track"]

AnyStep = CompiledStep | CompiledResponder


class CompiledTrack:
    def __init__(self, track: Track) -> None:
        self.name = track.name
        self.condition = Condition(track.when) if track.when is not None else None
        self.once = track.once
        self.steps: list[AnyStep] = []
        for step in track.steps:
            self.add(step)

    def add(self, step: Step | Responder, *, repeats: bool = False) -> None:
        number = len(self.steps) + 1
        if isinstance(step, Step):
            self.steps.append(CompiledStep(step, number))
        else:
            self.steps.append(CompiledResponder(step, number, repeats=repeats))


def compile_track(track: Track, source: str) -> CompiledTrack:
    """Raises `InvalidInput` for a regular expression that is none."""
    try:
        return CompiledTrack(track)
    except (re.error, KeyError) as error:
        raise InvalidInput(f"{source}: a `when` holds a bad regular expression: {error}") from error


class _Walk:
    """How far one conversation is."""

    __slots__ = ("calls", "first", "track", "used", "variables")

    def __init__(self, track: CompiledTrack, variables: dict[str, str]) -> None:
        self.track = track
        self.variables = variables
        self.first = 0
        self.used: dict[int, int] = {}
        self.calls = 0

    def take(self, asked: Asked, *, strict: bool) -> AnyStep | None:
        """The step that answers, now used; None when none fits."""
        steps = self.track.steps
        blocked = False
        for place in range(self.first, len(steps)):
            step = steps[place]
            if (blocked and not step.repeats) or self.used.get(place, 0) >= step.limit:
                continue
            captured = step.condition.match(asked) if step.condition is not None else {}
            if captured is None:
                blocked = blocked or (strict and not step.repeats)
                continue
            self.variables.update(captured)
            self.calls += 1
            self._use(place)
            return step
        return None

    def _use(self, place: int) -> None:
        steps = self.track.steps
        self.used[place] = self.used.get(place, 0) + 1
        while self.first < len(steps) and self.used.get(self.first, 0) >= steps[self.first].limit:
            self.used.pop(self.first)
            self.first += 1

    def waiting(self) -> list[AnyStep]:
        """What could still be played, in order."""
        return [
            step
            for place, step in enumerate(self.track.steps[self.first :], self.first)
            if self.used.get(place, 0) < step.limit
        ]

    def unused(self) -> list[AnyStep]:
        return [step for step in self.waiting() if not step.repeats]


class Engine:
    """One script and every conversation that walks it, each on its own."""

    def __init__(self, tracks: Sequence[CompiledTrack], *, origin: str, strict: bool) -> None:
        self._tracks = tracks
        self._origin = origin
        self._strict = strict
        self._walks: dict[str, _Walk] = {}
        self._begun: set[int] = set()

    def play(self, request: ModelRequest) -> Playback:
        """Raises `UnmatchedRequest`, which shows what was asked beside what was waited for."""
        asked, walk, step = self._choose(request)
        return step.play(asked, walk.variables, self._origin)

    def answer(self, request: ModelRequest) -> Filled:
        """The same as a value, for whoever sends it in another form. Raises as `play` does."""
        asked, walk, step = self._choose(request)
        return step.filled(asked, walk.variables, self._origin)

    def forget(self, conversation: str) -> None:
        """It is over: should it speak again, it begins anew."""
        self._walks.pop(conversation, None)

    def _choose(self, request: ModelRequest) -> tuple[Asked, _Walk, AnyStep]:
        asked = Asked(request)
        walk = self._walks.get(request.conversation)
        if walk is None:
            walk = self._begin(asked)
        step = walk.take(asked, strict=self._strict)
        if step is None:
            waiting = walk.waiting()[:3]
            raise UnmatchedRequest(
                explain(
                    asked,
                    f"{self._origin}: no step fits call {walk.calls + 1}",
                    [(step.title, step.condition) for step in waiting],
                ),
                hint="Add a step that fits, or correct the `when` of one.",
                provider=self._origin.partition(":")[0],
            )
        return asked, walk, step

    def _begin(self, asked: Asked) -> _Walk:
        for track in self._tracks:
            if track.once and id(track) in self._begun:
                continue
            captured = track.condition.match(asked) if track.condition is not None else {}
            if captured is not None:
                walk = _Walk(track, dict(captured))
                self._walks[asked.request.conversation] = walk
                self._begun.add(id(track))
                return walk
        raise UnmatchedRequest(
            explain(
                asked,
                f"{self._origin}: no kind of conversation fits this first request",
                [(track.name or "unnamed", track.condition) for track in self._tracks],
            ),
            provider=self._origin.partition(":")[0],
        )

    def unused(self) -> list[str]:
        """The steps that were to be played and were not, by conversation."""
        left = [
            f"{conversation or 'the conversation'}: {step.title}"
            for conversation, walk in self._walks.items()
            for step in walk.unused()
        ]
        for track in self._tracks:
            if id(track) not in self._begun:
                left += [f"never begun: {step.title}" for step in track.steps if not step.repeats]
        return left
