from __future__ import annotations

from pathlib import Path

import pytest

from tests.settings.loaded import loaded, refusal, written

LITERAL = "sk-ant-secret-0123456789"


def test_an_unknown_key_in_the_file_names_file_line_key_and_what_was_meant(tmp_path: Path) -> None:
    file = written(tmp_path, '# mine\n[models]\nprimry = "a:b"\n')
    assert refusal(file).message == (
        f"{file}:3: unknown key 'models.primry'; did you mean models.primary?"
    )


def test_an_unknown_section_names_the_close_one(tmp_path: Path) -> None:
    file = written(tmp_path, '[modells]\nprimary = "a:b"\n')
    message = refusal(file).message
    assert message.startswith(f"{file}:1: unknown key 'modells'")
    assert "did you mean models?" in message


def test_a_key_in_the_wrong_section_is_found_by_its_name(tmp_path: Path) -> None:
    file = written(tmp_path, "[server]\nmax_rounds = 3\n")
    assert refusal(file).message.endswith("did you mean limits.max_rounds?")


def test_an_unknown_key_like_no_other_gets_the_allowed_ones(tmp_path: Path) -> None:
    file = written(tmp_path, "[storage]\ncolour = 1\n")
    assert refusal(file).message.endswith("allowed here: durability, index")


def test_an_unknown_key_of_a_provider_is_compared_with_a_providers_keys(tmp_path: Path) -> None:
    file = written(tmp_path, f'[providers.work]\napikey = "{LITERAL}"\n')
    message = refusal(file).message
    assert message.endswith("did you mean providers.work.api_key?")
    assert LITERAL not in message


def test_an_unknown_variable_names_itself_and_the_one_that_was_meant() -> None:
    assert refusal(environ={"BAMBOO_MODELS__PRIMRY": "a:b"}).message == (
        "BAMBOO_MODELS__PRIMRY: unknown key 'models.primry'; did you mean BAMBOO_MODELS__PRIMARY?"
    )
    assert refusal(environ={"BAMBOO_MODLE": "a:b"}).message.endswith("did you mean BAMBOO_MODEL?")
    assert refusal(environ={"BAMBOO_CONFG": "x"}).message.endswith("did you mean BAMBOO_CONFIG?")


@pytest.mark.parametrize("name", ["BAMBOO_", "BAMBOO___", "BAMBOO_MODELS__", "BAMBOO___MODELS"])
def test_a_variable_that_is_only_half_a_name_is_named(name: str) -> None:
    assert name in refusal(environ={name: "x"}).message


def test_an_unknown_flag_names_itself() -> None:
    assert refusal(flags={"models.primry": "x"}).message.startswith("--models.primry: unknown key")
    assert "did you mean --model?" in refusal(flags={"models.primry": "x"}).message


BAD = [
    ("permissions.max_mode", '"acept"', "'acept' must be one of 'plan', 'default', 'accept_edits'"),
    ("limits.max_rounds", "0", "0 must be at least 1"),
    ("limits.max_rounds", "true", "True must be a whole number"),
    ("limits.max_rounds", '"12"', "'12' must be a whole number"),
    ("limits.max_rounds", "1.5", "1.5 must be a whole number"),
    ("limits.max_rounds", "10000000000000000000000", "must be at most 1e+09"),
    ("limits.timeout_s", "0", "0 must be greater than 0"),
    ("limits.timeout_s", "nan", "nan must be a finite number"),
    ("limits.timeout_s", "inf", "inf must be a finite number"),
    ("limits.soft_share", "1.5", "1.5 must be at most 1"),
    ("permissions.allow_commands", '"yes"', "'yes' must be true or false"),
    ("permissions.allow_commands", "1", "1 must be true or false"),
    ("models.primary", "3", "3 must be text"),
    ("models.primary", "2026-01-01", "must be text"),
    ("models", '"a:b"', "'a:b' must be a table"),
    ("home", '""', "'' must name a folder"),
    ("home", "3", "3 must be a path"),
    ("home", '"a\\u0000b"', "must not hold a NUL character"),
    ("workspace.root", '"a\\u0000b"', "must not hold a NUL character"),
    ("subagents.isolation", '""', "'' must not be empty"),
    ("plugins.disabled", '"x"', "'x' must be a list"),
    ("plugins.disabled", "[1]", "must be text"),
    ("server.expose", "[]", "must not be an empty list"),
    ("logging.level", '"loud"', "'loud' must be one of 'debug', 'info'"),
    ("storage.durability", '"never"', "must be one of 'process', 'turn', 'always'"),
    ("providers.work.base_url", '"ftp://x"', "'ftp://x' must begin with http:// or https://"),
    ("providers.work.type", "3", "3 must be text"),
]


@pytest.mark.parametrize(("key", "value", "rule"), BAD, ids=[f"{k}={v}" for k, v, _ in BAD])
def test_a_bad_value_names_file_line_key_value_and_rule(
    key: str, value: str, rule: str, tmp_path: Path
) -> None:
    file = written(tmp_path, f"\n{key} = {value}\n")
    message = refusal(file).message
    assert message.startswith(f"{file}:2: {key}")
    assert rule in message


def test_a_bad_element_of_a_list_is_named_by_its_place(tmp_path: Path) -> None:
    file = written(tmp_path, 'server.expose = ["control", "work"]')
    assert "server.expose[1] = 'work' must be one of 'control', 'skills'" in refusal(file).message


def test_a_bad_value_in_the_environment_names_the_variable() -> None:
    message = refusal(environ={"BAMBOO_LIMITS__MAX_ROUNDS": "many"}).message
    assert message == "BAMBOO_LIMITS__MAX_ROUNDS: limits.max_rounds = 'many' must be a whole number"


def test_a_bad_flag_names_the_flag() -> None:
    message = refusal(flags={"limits.timeout_s": -1.0}).message
    assert message == "--timeout: limits.timeout_s = -1.0 must be greater than 0"


def test_a_bad_value_is_refused_though_something_overrides_it(tmp_path: Path) -> None:
    file = written(tmp_path, '[permissions]\nmax_mode = "all"\n')
    error = refusal(
        file,
        environ={"BAMBOO_PERMISSIONS__MAX_MODE": "plan"},
        flags={"permissions.max_mode": "plan"},
    )
    assert error.message.startswith(f"{file}:2: ")


def test_all_faults_of_a_file_are_told_at_once_up_to_a_handful(tmp_path: Path) -> None:
    file = written(tmp_path, "[limits]\n" + "".join(f"x{n}y = 1\n" for n in range(8)))
    lines = refusal(file).message.splitlines()
    assert [f"'limits.x{n}y'" in line for n, line in enumerate(lines[:5])] == [True] * 5
    assert lines[5:] == ["and 3 more"]


def test_a_long_value_is_cut(tmp_path: Path) -> None:
    file = written(tmp_path, f'limits.max_rounds = "{"x" * 10_000}"')
    assert len(refusal(file).message) < 300 + len(str(file))


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[models\n", "1:8"),
        ("[models]\nprimary = a:b\n", "2:11"),
        ('[models]\nprimary = "x"\nfast', "3:5"),
        ('primary = "open', "1:16"),
        ("a = 1\na = 2\n", "2:"),
    ],
)
def test_a_corrupt_file_names_file_line_and_column(text: str, place: str, tmp_path: Path) -> None:
    file = written(tmp_path, text)
    error = refusal(file)
    assert error.message.startswith(f"{file}:{place}")
    assert "not valid TOML" in error.message
    assert error.hint


def test_a_file_that_is_not_text_names_the_line(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_bytes(b'[models]\nprimary = "\xff\xfe"\n')
    assert refusal(file).message == f"{file}:2: not UTF-8 text"


def test_a_file_saved_with_a_byte_order_mark_and_windows_lines_is_read(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_bytes(b'\xef\xbb\xbf[models]\r\nprimary = "a:b"\r\n')
    settings = loaded(file)
    assert settings.models.primary == "a:b"
    assert settings.source_of("models.primary") == f"{file}:2"


@pytest.mark.parametrize("text", ["a = " + "[" * 20_000, "a = " + "9" * 20_000])
def test_a_file_made_to_hurt_is_refused(text: str, tmp_path: Path) -> None:
    assert "config.toml" in refusal(written(tmp_path, text)).message


def test_a_file_too_large_to_be_settings_is_refused(tmp_path: Path) -> None:
    assert "larger than" in refusal(written(tmp_path, "#" * 1_100_000)).message


def test_a_named_file_that_does_not_exist_is_an_error_with_the_next_step(tmp_path: Path) -> None:
    error = refusal(tmp_path / "none.toml")
    assert "none.toml' does not exist" in error.message
    assert "config init" in error.hint


def test_a_folder_instead_of_a_file_is_an_error(tmp_path: Path) -> None:
    assert f"{str(tmp_path)!r} cannot be read" in refusal(tmp_path).message


def test_the_line_is_found_in_every_way_toml_can_say_a_key(tmp_path: Path) -> None:
    for text, line in [
        ('[providers]\n\n[providers."a-b"]\n"type" = 3\n', 4),
        ("[ providers . a-b ] # here\n type=3", 2),
        ("providers.a-b.type = 3", 1),
        ("\n\nproviders = { a-b = { type = 3 } }", 3),
        ("[providers]\na-b = {type = 3}", 2),
    ]:
        file = written(tmp_path, text)
        assert refusal(file).message.startswith(f"{file}:{line}: providers.a-b.type = 3 "), text


LITERAL_KEYS = [
    ("[providers.work]\napi_key = '{}'\n", "must say where the key is"),
    ("[providers.work]\napi_key = ['{}']\n", "must be text"),
    ("[providers]\nwork = '{}'\n", "must be a table"),
    ("providers = '{}'\n", "must be a table"),
    ("[providers.work]\nbase_url = 'https://me:{}@host'\n", "must not hold a name or password"),
    ("[providers.work]\noptions = '{}'\n", "must be a table"),
    ("[providers.work]\nkey = '{}'\n", "unknown key"),
    ("[models]\napi_key = '{}'\n", "unknown key"),
]


@pytest.mark.parametrize(("text", "rule"), LITERAL_KEYS)
def test_a_literal_key_is_refused_and_never_echoed(text: str, rule: str, tmp_path: Path) -> None:
    error = refusal(written(tmp_path, text.format(LITERAL)))
    assert rule in error.message
    assert LITERAL not in f"{error.message} {error.hint} {error!r}"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BAMBOO_PROVIDERS__WORK__API_KEY", LITERAL),
        ("BAMBOO_PROVIDERS__WORK__APIKEY", LITERAL),
        ("BAMBOO_PROVIDERS__WORK", LITERAL),
        ("BAMBOO_PROVIDERS", f'{{"work": {{"api_key": "{LITERAL}"}}}}'),
        ("BAMBOO_PROVIDERS", f'{{"work": {{"api_key": "{LITERAL}"}}'),
        ("BAMBOO_API_KEY", LITERAL),
    ],
)
def test_a_literal_key_in_a_variable_is_refused_and_never_echoed(name: str, value: str) -> None:
    error = refusal(environ={name: value})
    assert name in error.message
    assert LITERAL not in f"{error.message} {error.hint} {error!r}"
