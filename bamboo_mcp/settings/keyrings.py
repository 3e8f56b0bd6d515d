"""Keys in the keyring of the operating system, through the `keyring` library.

Loaded when such a key is first needed: the library is an extra, and asking it may open a dialog.
"""

from __future__ import annotations

import shlex
import threading
from concurrent.futures import Future

from bamboo_mcp.domain.errors import SettingsError
from bamboo_mcp.domain.redaction import redacted_text

WAIT_S = 20.0
"""A keyring may ask a person to unlock it. Less than the time a provider has to load."""


def keyring_entry(service: str, name: str, *, within_s: float = WAIT_S) -> str:
    """The password of `name` for `service`. Blocks; call it in a thread.

    Raises:
        SettingsError: There is no such entry, no keyring, or it does not answer.
    """
    answer: Future[str] = Future()
    # A thread of its own, and a daemon: a dialog nobody answers must not keep the process alive.
    threading.Thread(
        target=_answer, args=(service, name, answer), name="keyring", daemon=True
    ).start()
    try:
        return answer.result(within_s)
    except TimeoutError:
        raise SettingsError(
            f"the keyring did not give {_shown(service, name)} within {within_s:g} s",
            hint="It may be waiting to be unlocked: unlock it and try again.",
        ) from None


def entry_hint(service: str, name: str) -> str:
    return f"Put the key there: python -m keyring set {shlex.quote(service)} {shlex.quote(name)}"


def _answer(service: str, name: str, answer: Future[str]) -> None:
    try:
        answer.set_result(_entry(service, name))
    except SettingsError as error:
        answer.set_exception(error)


def _entry(service: str, name: str) -> str:
    try:
        import keyring
        from keyring.errors import InitError, KeyringLocked, NoKeyringError
    except ImportError as error:
        raise SettingsError(
            f"{_shown(service, name)} needs the keyring library, which is not installed",
            hint='pip install "bamboo-mcp[keyring]"',
        ) from error
    try:
        found = keyring.get_password(service, name)
    except NoKeyringError as error:
        raise SettingsError(
            f"{_shown(service, name)} cannot be read: this machine has no keyring that the "
            "keyring library can use",
            hint="Use env:NAME, file:PATH or cmd:COMMAND instead; `python -m keyring diagnose` "
            "tells more.",
        ) from error
    except (KeyringLocked, InitError) as error:
        raise SettingsError(
            f"{_shown(service, name)} cannot be read: the keyring is locked{_said(error)}",
            hint="Unlock it (log in to the desktop, or run `python -m keyring get` once) and try "
            "again.",
        ) from error
    except (Exception, SystemExit) as error:  # a backend is anybody's code
        raise SettingsError(
            f"{_shown(service, name)} cannot be read: {type(error).__name__}{_said(error)}",
            hint="`python -m keyring diagnose` tells which keyring is in use.",
        ) from error
    if found is None:
        raise SettingsError(
            f"the keyring has no entry {_shown(service, name)}", hint=entry_hint(service, name)
        )
    return found


def _shown(service: str, name: str) -> str:
    return repr(f"keyring:{service}/{name}")


def _said(error: BaseException) -> str:
    words = redacted_text(str(error).strip())[:200]
    return f" ({words})" if words else ""
