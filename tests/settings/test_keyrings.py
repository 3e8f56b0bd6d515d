from __future__ import annotations

import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.backends.fail import Keyring as NoKeyring
from keyring.errors import InitError, KeyringError, KeyringLocked

from bamboo_mcp.domain.errors import SettingsError
from bamboo_mcp.settings import resolve_reference
from bamboo_mcp.settings.keyrings import keyring_entry

KEY = "sk-ant-secret-0123456789"


class Vault(KeyringBackend):
    """A keyring in memory, that may fail or make people wait."""

    priority = 1

    def __init__(self, failure: Exception | None = None, **entries: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.asked: list[tuple[str, str]] = []
        self.gate = threading.Event()
        self.gate.set()
        self._failure = failure
        self._entries = entries

    def get_password(self, service: str, username: str) -> str | None:
        self.asked.append((service, username))
        self.gate.wait(10)
        if self._failure is not None:
            raise self._failure
        return self._entries.get(username)

    def set_password(self, service: str, username: str, password: str) -> None:
        self._entries[username] = password


@contextmanager
def using(backend: KeyringBackend) -> Iterator[None]:
    """The library keeps one backend for the process."""
    before = keyring.get_keyring()
    keyring.set_keyring(backend)
    try:
        yield
    finally:
        keyring.set_keyring(before)


def refusal(backend: KeyringBackend, reference: str = "keyring:bamboo/work") -> SettingsError:
    with using(backend):
        secret = resolve_reference(reference, {})
        with pytest.raises(SettingsError) as raised:
            secret.reveal()
    assert KEY not in "".join(traceback.format_exception(raised.value)) + raised.value.hint
    assert reference in raised.value.message
    return raised.value


def test_an_entry_of_the_keyring_gives_its_password() -> None:
    vault = Vault(work=f"{KEY}\n")
    with using(vault):
        secret = resolve_reference("keyring:bamboo/work", {})
        assert secret
        assert not vault.asked, "nothing is asked before the key is needed"
        assert secret.reveal() == secret.reveal() == KEY
    assert vault.asked == [("bamboo", "work")]


@pytest.mark.parametrize(
    ("reference", "entry"),
    [
        ("keyring:a/b", ("a", "b")),
        ("keyring:https://api.example.com/me@example.com", ("https://api.example.com", "me@ex")),
        ("keyring:my service/my name", ("my service", "my name")),
    ],
)
def test_the_name_is_what_follows_the_last_slash(reference: str, entry: tuple[str, str]) -> None:
    vault = Vault(None, **{reference.rpartition("/")[2]: KEY})
    with using(vault):
        assert resolve_reference(reference, {}).reveal() == KEY
    assert vault.asked[0][0] == entry[0]
    assert vault.asked[0][1].startswith(entry[1])


@pytest.mark.parametrize(
    "entry", ["", "/", "service", "service/", "/name", " / ", "a\n/b", "a/b\0"]
)
def test_what_names_no_entry_is_refused_with_the_form(entry: str) -> None:
    with pytest.raises(SettingsError) as raised:
        resolve_reference(f"keyring:{entry}", {})
    assert "keyring:SERVICE/NAME" in raised.value.message


def test_an_entry_that_is_not_there_is_said_with_how_to_put_it_there() -> None:
    error = refusal(Vault())
    assert "has no entry" in error.message
    assert "python -m keyring set bamboo work" in error.hint
    assert "set 'my service' me" in refusal(Vault(), "keyring:my service/me").hint


def test_an_empty_entry_is_no_key() -> None:
    error = refusal(Vault(work=" \n"))
    assert "is empty" in error.message
    assert "python -m keyring set bamboo work" in error.hint


def test_an_entry_that_is_no_key_is_not_shown() -> None:
    assert "is not a key" in refusal(Vault(work=f"user: {KEY}")).message
    assert "is not a key" in refusal(Vault(work=f"{KEY}\nx-evil: 1")).message


def test_without_a_keyring_on_this_machine_the_other_forms_are_named() -> None:
    error = refusal(NoKeyring())  # type: ignore[no-untyped-call]
    assert "no keyring" in error.message
    for form in ("env:NAME", "file:PATH", "cmd:COMMAND"):
        assert form in error.hint


@pytest.mark.parametrize("failure", [KeyringLocked("not opened"), InitError("not opened")])
def test_a_locked_keyring_is_said_to_be_locked(failure: Exception) -> None:
    error = refusal(Vault(failure))
    assert "is locked (not opened)" in error.message
    assert "Unlock it" in error.hint


@pytest.mark.parametrize(
    "failure",
    [KeyringError("the bus is gone"), OSError("the bus is gone"), KeyError("the bus is gone")],
)
def test_whatever_a_keyring_raises_is_told_and_the_key_in_it_is_not(failure: Exception) -> None:
    error = refusal(Vault(failure))
    assert type(failure).__name__ in error.message
    assert "the bus is gone" in error.message
    assert "diagnose" in error.hint
    refusal(Vault(type(failure)("")))


def test_a_failure_is_not_remembered() -> None:
    with using(Vault(KeyringLocked())):
        secret = resolve_reference("keyring:bamboo/work", {})
        with pytest.raises(SettingsError):
            secret.reveal()
    with using(Vault(work=KEY)):
        assert secret.reveal() == KEY


def test_a_keyring_that_waits_for_a_person_is_given_up_after_a_while() -> None:
    vault = Vault(work=KEY)
    vault.gate.clear()
    try:
        with using(vault), pytest.raises(SettingsError) as raised:
            keyring_entry("bamboo", "work", within_s=0.05)
    finally:
        vault.gate.set()
    assert "within 0.05 s" in raised.value.message
    assert "unlock" in raised.value.hint


def _python(program: str, **environ: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=25,
        check=False,
        env=environ,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


REVEAL = """
from bamboo_mcp.domain.errors import SettingsError
from bamboo_mcp.settings import resolve_reference
secret = resolve_reference("keyring:bamboo/work", {})
print("keyring" in {name for name, module in sys.modules.items() if module})
try:
    secret.reveal()
except SettingsError as error:
    print(error.message, error.hint)
"""


def test_without_the_extra_it_is_said_what_to_install() -> None:
    said = _python(f"import sys\nsys.modules['keyring'] = None\n{REVEAL}").splitlines()
    assert said[0] == "False", "the library is not loaded before a key is needed"
    assert 'pip install "bamboo-mcp[keyring]"' in said[1]


@pytest.mark.parametrize("backend", ["nowhere.Keyring", "keyring.backends.nothing", "nonsense"])
def test_a_backend_that_does_not_load_is_said(backend: str) -> None:
    said = _python(f"import sys\n{REVEAL}", PYTHON_KEYRING_BACKEND=backend)
    assert "cannot be read" in said
    assert "pip install" not in said
