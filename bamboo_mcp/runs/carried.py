"""What a run takes over from the record of its session, and what it leaves there for the next."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from bamboo_mcp.domain.runs import NO_CHOICE, Goal, RunRequest, SkillChoice
from bamboo_mcp.domain.sessions import SessionMeta

logger = logging.getLogger(__name__)

SELECTED_SKILLS = "selected_skill_ids"
DISABLED_SKILLS = "disabled_skill_ids"
SKILL_MODE = "skill_mode"
GOAL = "goal"
"""Keys of `SessionMeta.extra` (document 001; the last one is ours)."""

_NOTHING: Mapping[str, Any] = {}

T = TypeVar("T")


def completed(request: RunRequest, extra: Mapping[str, Any]) -> RunRequest:
    """`request` with what it leaves open, as far as the session says it: the argument wins."""
    if not extra:
        return request
    asked = request.skills
    skills = SkillChoice(
        selected=_first(asked.selected, extra, SELECTED_SKILLS, tuple[str, ...]),
        disabled=_first(asked.disabled, extra, DISABLED_SKILLS, tuple[str, ...]),
        mode=asked.mode.strip() or _said(extra, SKILL_MODE) or _said(extra, "mode"),
    )
    goal = _first(request.goal, extra, GOAL, Goal)
    if skills == asked and goal == request.goal:
        return request
    return msgspec.structs.replace(request, skills=skills, goal=goal)


def to_note(request: RunRequest, meta: SessionMeta) -> Mapping[str, Any]:
    """The fields of a session's record that this run changes; mostly none.

    A subagent's model is in its spec, and its record says so from its birth.
    """
    says_nothing = request.skills is NO_CHOICE and request.goal is None
    if says_nothing and (request.subagent_id is not None or request.model in ("", meta.model)):
        return _NOTHING
    changes: dict[str, Any] = {}
    if request.model and request.subagent_id is None and request.model != meta.model:
        changes["model"] = request.model
    if says_nothing:
        return changes
    skills, extra = request.skills, dict(meta.extra)
    if skills.selected is not None:
        extra[SELECTED_SKILLS] = list(skills.selected)
    if skills.disabled is not None:
        extra[DISABLED_SKILLS] = list(skills.disabled)
    if mode := skills.mode.strip():
        extra[SKILL_MODE] = mode
    if request.goal is not None:
        extra[GOAL] = msgspec.to_builtins(request.goal)
    if not (request.goal is None or request.goal.text):
        extra.pop(GOAL)
    if extra != meta.extra:
        changes["extra"] = extra
    return changes


def noted(latest: SessionMeta, request: RunRequest) -> SessionMeta:
    """`latest` with what `to_note` finds in it: for `SessionStore.edit`, so nobody's edit is lost.

    It is worked out anew from the record as it is on disk.
    """
    return msgspec.structs.replace(latest, **to_note(request, latest))


def _first(asked: T | None, extra: Mapping[str, Any], key: str, kind: type[T]) -> T | None:
    if asked is not None or key not in extra:
        return asked
    try:
        return msgspec.convert(extra[key], kind)
    except msgspec.ValidationError as error:
        logger.warning("the session's %s is passed over, it makes no sense: %s", key, error)
        return None


def _said(extra: Mapping[str, Any], key: str) -> str:
    said = extra.get(key)
    return said.strip() if isinstance(said, str) else ""
