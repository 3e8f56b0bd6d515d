from __future__ import annotations

import pytest

from bamboo_mcp.domain.redaction import (
    MAX_SHOWN_CHARS,
    redacted_arguments,
    redacted_head,
    redacted_text,
    redacted_value,
)

KEY = "sk-ant-0123456789abcdef"


@pytest.mark.parametrize(
    "name", ["password", "db_password", "apiKey", "API-KEY", "accessToken", "x-secret", "Token"]
)
def test_a_value_named_like_a_secret_is_starred_at_any_depth(name: str) -> None:
    assert redacted_arguments({name: "hunter2"}) == {name: "***"}
    assert redacted_arguments({"a": [{"b": {name: "x"}}]}) == {"a": [{"b": {name: "***"}}]}
    assert redacted_arguments({name: {"user": "me", "value": "x"}}) == {name: "***"}


def test_what_only_looks_like_such_a_name_is_shown() -> None:
    arguments = {"max_tokens": 7, "token": 3, "monkey": "m", "tokens": "t", "password": ""}
    assert redacted_arguments(arguments) == arguments


@pytest.mark.parametrize(
    "secret",
    [
        KEY,
        "ghp_abcdefghijklmnopqrstuv",
        "github_pat_abcdefghijklmnopqrstuv",
        "glpat-abcdefghijklmnopqr",
        "xoxb-1234567890-abc",
        "AKIAABCDEFGHIJKLMNOP",
        "AIza" + "a" * 35,
        "eyJhbGciOiJIUzI1.eyJzdWIiOiIxMjM0.c2lnbmF0dXJl",
    ],
)
def test_a_well_known_shape_is_starred_wherever_it_stands(secret: str) -> None:
    assert redacted_text(f"use {secret}, please") == "use ***, please"
    assert redacted_arguments({"text": f"{secret}"}) == {"text": "***"}


def test_of_an_address_and_a_header_only_the_secret_is_starred() -> None:
    assert redacted_text("https://me:hunter2@example.org/x") == "https://***@example.org/x"
    assert redacted_text("Authorization: Bearer abcdefghijklmnop") == "Authorization: Bearer ***"


def test_ordinary_text_is_the_same_object() -> None:
    text = "def sky(through): return 'https://example.org/a:b'"
    assert redacted_text(text) is text


def test_a_long_text_is_cut_and_a_key_across_the_cut_does_not_show_in_part() -> None:
    text = "x" * (MAX_SHOWN_CHARS - 10) + " " + KEY + "y" * 5_000_000
    shown = redacted_head(text)
    assert "sk-ant" not in shown
    assert len(shown) <= MAX_SHOWN_CHARS + 1
    assert len(redacted_arguments({"content": text})["content"]) <= MAX_SHOWN_CHARS + 1


def test_what_a_person_decides_on_is_redacted_and_not_cut() -> None:
    text = "true\n" * 5_000
    assert redacted_value("steps", [text, KEY]) == [text, "***"]


def test_arguments_nested_without_end_are_cut_off() -> None:
    nested: object = KEY
    for _ in range(900):
        nested = [nested]
    assert KEY not in str(redacted_arguments({"a": nested}))
