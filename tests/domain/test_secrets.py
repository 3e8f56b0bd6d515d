from __future__ import annotations

import copy
import pickle
import threading

import msgspec
import pytest

from bamboo_mcp.domain.secrets import Secret, starred

KEY = "sk-ant-very-secret-0123456789"


def test_a_secret_shows_itself_to_nobody_but_who_reveals_it() -> None:
    for secret in (Secret(KEY), Secret.deferred(lambda: KEY)):
        assert secret.reveal() == KEY
        assert KEY not in f"{secret} {secret!r} {secret!s} {[secret]}"
        with pytest.raises(TypeError):
            pickle.dumps(secret)
        with pytest.raises(TypeError):
            copy.deepcopy(secret)
        with pytest.raises(TypeError):
            msgspec.json.encode(secret)


def test_an_empty_secret_is_false_and_a_deferred_one_true_without_a_look() -> None:
    looked: list[str] = []

    def load() -> str:
        looked.append("")
        return KEY

    assert not Secret("")
    assert Secret(KEY)
    secret = Secret.deferred(load)
    assert secret
    assert secret.pending
    assert repr(secret) == "Secret('***')"
    assert not looked


def test_a_deferred_secret_is_fetched_once_at_its_first_reveal() -> None:
    looked: list[int] = []

    def load() -> str:
        looked.append(len(looked))
        return f"{KEY}-{len(looked)}"

    secret = Secret.deferred(load)
    assert secret.reveal() == secret.reveal() == f"{KEY}-1"
    assert len(looked) == 1
    assert not secret.pending
    assert secret


def test_a_failure_goes_to_who_asked_and_the_next_one_asks_again() -> None:
    outcomes = [ValueError("locked"), ValueError("still locked"), None]

    def load() -> str:
        if (error := outcomes.pop(0)) is not None:
            raise error
        return KEY

    secret = Secret.deferred(load)
    with pytest.raises(ValueError, match=r"^locked"):
        secret.reveal()
    with pytest.raises(ValueError, match="still locked"):
        secret.reveal()
    assert secret.pending
    assert secret.reveal() == KEY
    assert not outcomes


def test_many_threads_that_reveal_at_once_share_one_look() -> None:
    entered, go = threading.Event(), threading.Event()
    looked: list[str] = []

    def load() -> str:
        looked.append("")
        entered.set()
        assert go.wait(5)
        return KEY

    secret = Secret.deferred(load)
    seen: list[str] = []
    threads = [threading.Thread(target=lambda: seen.append(secret.reveal())) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert entered.wait(5)
    go.set()
    for thread in threads:
        thread.join(5)
    assert seen == [KEY] * 8
    assert len(looked) == 1


def test_what_was_revealed_is_starred_wherever_it_is_quoted() -> None:
    """Keys of different secrets, one of which begins like another; and again after each other."""
    short, long = "key-of-nobody-1", "key-of-nobody-1-and-more"
    text = f"{long}, in the middle of{short}words, {short}"
    assert starred(text) == text, "nobody has been given it yet"
    Secret(short).reveal()
    Secret.deferred(lambda: long).reveal()
    assert starred(text) == "***, in the middle of***words, ***"
    assert starred("nothing of it") == "nothing of it"


def test_a_stand_in_for_a_key_stars_no_words() -> None:
    for value in ("", "-", "ollama"):
        Secret(value).reveal()
    assert starred("- ollama serves -") == "- ollama serves -"
