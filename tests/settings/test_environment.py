from __future__ import annotations

from pathlib import Path

import pytest

from tests.settings.loaded import loaded, refusal


@pytest.mark.parametrize("text", ["true", "1", "yes", "on", "TRUE", " Yes "])
def test_words_for_yes(text: str) -> None:
    environ = {"BAMBOO_PERMISSIONS__ALLOW_COMMANDS": text}
    assert loaded(environ=environ).permissions.allow_commands is True


@pytest.mark.parametrize("text", ["false", "0", "no", "off", "False"])
def test_words_for_no(text: str) -> None:
    assert loaded(environ={"BAMBOO_PLUGINS__ENABLED": text}).plugins.enabled is False


def test_other_words_are_neither_yes_nor_no() -> None:
    message = refusal(environ={"BAMBOO_PLUGINS__ENABLED": "maybe"}).message
    assert "plugins.enabled = 'maybe' must be true or false" in message


def test_numbers() -> None:
    settings = loaded(
        environ={
            "BAMBOO_LIMITS__MAX_ROUNDS": "1_000",
            "BAMBOO_LIMITS__TIMEOUT_S": "2.5",
            "BAMBOO_LIMITS__MAX_TOKENS": "0",
            "BAMBOO_LIMITS__MAX_COST_USD": "3",
        }
    )
    limits = settings.limits
    assert (limits.max_rounds, limits.timeout_s) == (1000, 2.5)
    assert (limits.max_tokens, limits.max_cost_usd) == (0, 3.0)


def test_a_number_with_a_fraction_is_no_whole_number() -> None:
    assert "whole number" in refusal(environ={"BAMBOO_LIMITS__MAX_ROUNDS": "2.5"}).message


def test_lists_are_commas_or_json() -> None:
    settings = loaded(
        environ={
            "BAMBOO_SERVER__EXPOSE": " control, skills ,",
            "BAMBOO_PLUGINS__DISABLED": '["a", "b,c"]',
        }
    )
    assert settings.server.expose == ("control", "skills")
    assert settings.plugins.disabled == ("a", "b,c")


def test_maps_are_json() -> None:
    environ = {"BAMBOO_PROVIDERS": '{"my-llm": {"type": "anthropic", "options": {"x": [1]}}}'}
    provider = loaded(environ=environ).providers["my-llm"]
    assert (provider.type, provider.options) == ("anthropic", {"x": [1]})


def test_a_map_that_is_not_json_is_refused_without_showing_it() -> None:
    assert refusal(environ={"BAMBOO_MODELS": "{primary}"}).message == (
        "BAMBOO_MODELS: models must be a JSON object, and this is none"
    )


def test_a_map_and_keys_in_it_are_put_together() -> None:
    settings = loaded(environ={"BAMBOO_MODELS": '{"primary": "a:b"}', "BAMBOO_MODELS__FAST": "a:c"})
    assert (settings.models.primary, settings.models.fast) == ("a:b", "a:c")
    assert settings.source_of("models.primary") == "BAMBOO_MODELS"


def test_the_short_name_of_the_model() -> None:
    settings = loaded(environ={"BAMBOO_MODEL": "a:b"})
    assert settings.models.primary == "a:b"
    assert settings.source_of("models.primary") == "BAMBOO_MODEL"


def test_two_names_of_one_key_may_agree_but_not_differ() -> None:
    same = {"BAMBOO_MODEL": "a:b", "BAMBOO_MODELS__PRIMARY": "a:b"}
    assert loaded(environ=same).models.primary == "a:b"
    message = refusal(environ={**same, "BAMBOO_MODEL": "a:c"}).message
    assert message.startswith("BAMBOO_MODEL and BAMBOO_MODELS__PRIMARY both say")


@pytest.mark.parametrize("blank", ["", "  "])
def test_a_blank_variable_counts_as_not_set(blank: str) -> None:
    environ = {
        "BAMBOO_HOME": blank,
        "BAMBOO_MODEL": blank,
        "BAMBOO_LIMITS__MAX_ROUNDS": blank,
        "BAMBOO_NOT_A_SETTING": blank,
    }
    settings = loaded(environ=environ)
    assert settings.source_of("home") == "default"
    assert settings.limits.max_rounds == 200


def test_the_home_folder() -> None:
    settings = loaded(environ={"BAMBOO_HOME": "/somewhere/else"})
    assert settings.home == Path("/somewhere/else").absolute()


def test_variables_of_others_are_left_alone() -> None:
    assert (
        loaded(environ={"BAMBOOZLE": "1", "bamboo_home": "x", "PATH": "/bin"}).model_dump()
        == loaded().model_dump()
    )


def test_spaces_around_a_value_are_not_part_of_it() -> None:
    assert loaded(environ={"BAMBOO_MODEL": " a:b\n"}).models.primary == "a:b"
