from __future__ import annotations

import pytest

from bamboo_mcp.domain.models import Effort, ModelCaps
from bamboo_mcp.domain.provider_errors import BadRequest, Overloaded, ServerFailed, TransportFailed
from bamboo_mcp.providers.faults import kind_of
from bamboo_mcp.providers.known_models import ANTHROPIC_MODELS
from bamboo_mcp.providers.table import (
    EFFORTS,
    caps_of,
    clamp_effort,
    family_of,
    vendor_of,
)


@pytest.mark.parametrize(
    ("wanted", "allowed", "given"),
    [
        ("none", ("low", "max"), "low"),
        ("minimal", ("low", "medium", "high", "xhigh", "max"), "low"),
        ("minimal", ("none", "low", "medium", "high"), "none"),
        ("xhigh", ("none", "low", "medium", "high"), "high"),
        ("max", ("low", "medium", "high"), "high"),
        ("medium", ("low", "high"), "low"),
        ("medium", ("max", "low"), "low"),
        ("high", (), None),
    ],
)
def test_an_effort_is_clamped_to_the_nearest_below_else_above(
    wanted: Effort, allowed: tuple[Effort, ...], given: Effort | None
) -> None:
    assert clamp_effort(wanted, allowed) == given


def test_a_level_that_is_allowed_is_kept() -> None:
    for effort in EFFORTS:
        assert clamp_effort(effort, EFFORTS) == effort


def test_snapshots_and_variants_have_the_row_of_their_model() -> None:
    assert caps_of("claude-opus-4-5-20251101").context_window == 200_000
    assert caps_of("claude-opus-5-5@20261001") == caps_of("claude-opus-5-5")
    assert caps_of("claude-haiku-5-5-latest").max_output == 128_000


def test_a_longer_number_is_another_model() -> None:
    assert caps_of("claude-opus-5-55") == caps_of("claude-opus-5")
    assert caps_of("claude-opus-55") == ModelCaps()
    assert caps_of("llama3:8b") == ModelCaps()


def test_families_drop_the_snapshot_and_nothing_else() -> None:
    assert family_of("claude-opus-5-5-20261001") == "claude-opus-5-5"
    assert family_of("claude-opus-5-5") == "claude-opus-5-5"
    assert family_of("claude-opus-5") != family_of("claude-opus-5-5")


def test_vendors_are_told_by_prefix() -> None:
    assert vendor_of("claude-of-tomorrow") == "anthropic"
    assert vendor_of("gpt-of-tomorrow") == "openai"
    assert vendor_of("gemini-9") == "gemini"
    assert vendor_of("llama3") == ""


def test_prices_are_unknown_and_not_nothing() -> None:
    assert all(row.price_input is None and row.price_output is None for row in ANTHROPIC_MODELS)


def test_a_failure_of_unknown_type_goes_by_its_status() -> None:
    assert kind_of(status=503, error_type="new") is Overloaded
    assert kind_of(status=599) is ServerFailed
    assert kind_of(status=200, error_type="new") is ServerFailed
    assert kind_of(status=499) is BadRequest
    assert kind_of(status=None) is TransportFailed
