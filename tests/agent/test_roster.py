"""Which model takes which part: what a run says, what the settings say, and who inherits."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from bamboo_mcp.agent.roster import Roster
from bamboo_mcp.domain.errors import UnknownModel
from bamboo_mcp.domain.ids import new_run_id, new_session_id
from bamboo_mcp.domain.models import Role
from bamboo_mcp.domain.runs import ModelRoster, RunRequest
from bamboo_mcp.testing.scripted import ScriptedProvider
from tests.agent.two_models import NamedModels

NAMES = ("main", "fast", "background", "summarisation", "mine", "other")


async def asked(role: Role, roster: ModelRoster, said: Collection[str]) -> str:
    models = NamedModels(dict.fromkeys(NAMES, ScriptedProvider()))
    request = RunRequest(
        run_id=new_run_id(), session_id=new_session_id(), model="main", roster=roster
    )
    await Roster(models, request, said).resolve(role)
    return models.asked[0]


async def test_what_the_run_names_goes_before_the_settings() -> None:
    roster = ModelRoster(fast="mine", background="mine", summarisation="mine")
    for role in ("fast", "background", "summarisation"):
        assert await asked(role, roster, ("fast", "background", "summarisation")) == "mine"
        assert await asked(role, ModelRoster(), ("fast", "background", "summarisation")) == role
    assert await asked("primary", roster, ()) == "main"


async def test_fast_falls_back_to_the_primary_and_summarisation_to_background() -> None:
    assert await asked("fast", ModelRoster(), ()) == "main"
    assert await asked("summarisation", ModelRoster(), ("background",)) == "background"
    assert await asked("summarisation", ModelRoster(background="mine"), ("background",)) == "mine"


async def test_background_work_never_ends_up_with_the_primary_model_by_itself() -> None:
    for role in ("background", "summarisation"):
        with pytest.raises(UnknownModel, match="not taken in its place"):
            await asked(role, ModelRoster(fast="mine"), ("fast", "primary"))


async def test_a_role_is_looked_up_anew_each_time() -> None:
    models = NamedModels({"fast": ScriptedProvider()})
    request = RunRequest(run_id=new_run_id(), session_id=new_session_id())
    roster = Roster(models, request, ("fast",))
    await roster.resolve("fast")
    await roster.resolve("fast")
    assert models.asked == ["fast", "fast"]
