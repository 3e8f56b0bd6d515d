from __future__ import annotations

import os
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import psutil
import pytest

from bamboo_mcp.domain.errors import SettingsError
from bamboo_mcp.settings import resolve_reference
from bamboo_mcp.settings.key_commands import MAX_BYTES, command_output

KEY = "sk-ant-secret-0123456789"
ENVIRON = dict(os.environ)

posix = pytest.mark.skipif(sys.platform == "win32", reason="commands and signals of POSIX")


def program(folder: Path, text: str, name: str = "key.py") -> str:
    """A `cmd:` reference to a Python program."""
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return f"cmd:'{sys.executable}' '{file}'"


def said(error: SettingsError) -> str:
    return "".join(traceback.format_exception(error)) + error.hint


def refusal(reference: str) -> SettingsError:
    secret = resolve_reference(reference, ENVIRON)
    assert secret, "nothing is looked up before it is revealed"
    with pytest.raises(SettingsError) as raised:
        secret.reveal()
    assert KEY not in said(raised.value)
    return raised.value


def test_a_command_gives_the_line_it_writes(tmp_path: Path) -> None:
    reference = program(tmp_path, f"print('  {KEY}  ')")
    secret = resolve_reference(reference, ENVIRON)
    assert secret.reveal() == KEY


@pytest.mark.parametrize("ending", ["", "\\n", "\\r\\n", "\\n\\n"])
def test_how_the_line_ends_does_not_matter(tmp_path: Path, ending: str) -> None:
    reference = program(tmp_path, f"import sys; sys.stdout.write('{KEY}{ending}')")
    assert resolve_reference(reference, ENVIRON).reveal() == KEY


def test_a_byte_order_mark_is_no_part_of_a_key(tmp_path: Path) -> None:
    text = f"import sys; sys.stdout.buffer.write(b'\\xef\\xbb\\xbf{KEY}')"
    assert resolve_reference(program(tmp_path, text), ENVIRON).reveal() == KEY


def test_resolving_runs_nothing_and_revealing_runs_it_once(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    text = f"open({str(ran)!r}, 'a').write('x'); print({KEY!r})"
    secret = resolve_reference(program(tmp_path, text), ENVIRON)
    assert bool(secret)
    assert repr(secret) == "Secret('***')"
    assert not ran.exists()
    assert secret.reveal() == secret.reveal() == KEY
    assert ran.read_text(encoding="utf-8") == "x"


def test_each_secret_runs_the_command_anew_so_that_tokens_can_be_renewed(tmp_path: Path) -> None:
    count = tmp_path / "count"
    text = f"f = open({str(count)!r}, 'a+'); f.write('x'); print(f'token-{{f.tell()}}')"
    reference = program(tmp_path, text)
    tokens = [resolve_reference(reference, ENVIRON).reveal() for _ in range(2)]
    assert tokens == ["token-1", "token-2"]


def test_words_are_split_as_a_shell_does_and_nothing_else_is_done_to_them(tmp_path: Path) -> None:
    text = "import sys; print('|'.join(sys.argv[1:]).replace(' ', '_'))"
    reference = program(tmp_path, text) + r""" 'one two' "th\"ree" fo\ ur $HOME * ; && > x `id`"""
    assert resolve_reference(reference, ENVIRON).reveal() == (
        'one_two|th"ree|fo_ur|$HOME|*|;|&&|>|x|`id`'
    )


def test_it_has_no_input_and_no_terminal(tmp_path: Path) -> None:
    text = (
        "import os, sys\n"
        "terminal = 'none'\n"
        "try:\n    os.close(os.open('/dev/tty', os.O_RDWR)); terminal = 'some'\n"
        "except OSError:\n    pass\n"
        "print(f'read:{len(sys.stdin.read())},terminal:{terminal}')"
    )
    assert resolve_reference(program(tmp_path, text), ENVIRON).reveal() == "read:0,terminal:none"


def test_it_has_the_environment_of_the_server(tmp_path: Path) -> None:
    reference = program(tmp_path, "import os; print(os.environ['VAULT_TOKEN'])")
    assert resolve_reference(reference, {**ENVIRON, "VAULT_TOKEN": KEY}).reveal() == KEY


def test_it_runs_in_the_home_folder_wherever_the_server_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    home.mkdir()
    elsewhere.mkdir()
    monkeypatch.setenv("USERPROFILE" if sys.platform == "win32" else "HOME", str(home))
    monkeypatch.chdir(elsewhere)
    reference = program(tmp_path, "import os; print(os.path.basename(os.getcwd()))")
    assert resolve_reference(reference, ENVIRON).reveal() == "home"


@posix
def test_a_program_is_found_on_the_path_or_below_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "give-key"
    script.write_text(f"#!/bin/sh\necho {KEY}\n", encoding="utf-8")
    script.chmod(0o700)
    environ = {**ENVIRON, "PATH": f"{tmp_path}{os.pathsep}{ENVIRON['PATH']}"}
    assert resolve_reference("cmd:give-key", environ).reveal() == KEY
    assert "no such program on the PATH" in refusal("cmd:give-key").message
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve_reference("cmd:~/give-key", ENVIRON).reveal() == KEY


@posix
def test_a_program_in_the_folder_of_the_project_is_never_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "give-key"
    script.write_text("#!/bin/sh\necho planted\n", encoding="utf-8")
    script.chmod(0o700)
    monkeypatch.chdir(tmp_path)
    for path in ("", ".", f".{os.pathsep}/usr/bin"):
        with pytest.raises(SettingsError, match="no such program"):
            resolve_reference("cmd:give-key", {**ENVIRON, "PATH": path}).reveal()


def test_a_failing_command_is_told_by_its_exit_code_and_by_nothing_it_wrote(
    tmp_path: Path,
) -> None:
    text = f"import sys; print({KEY!r}); print({KEY!r}, file=sys.stderr); sys.exit(7)"
    error = refusal(program(tmp_path, text) + f" --password {KEY[4:]}")
    assert "ended with exit code 7" in error.message
    assert "terminal" in error.hint
    assert KEY[4:] not in said(error), "arguments are not shown either"


@posix
def test_a_command_that_was_killed_is_told_by_the_signal(tmp_path: Path) -> None:
    text = f"import os; print({KEY!r}, flush=True); os.kill(os.getpid(), 9)"
    assert "was ended by signal 9" in refusal(program(tmp_path, text)).message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("pass", "wrote nothing"),
        ("print('\\n \\n')", "wrote nothing"),
        (f"print({KEY!r}); print({KEY!r})", "wrote several lines"),
        (f"print('key: {KEY}')", "is not a key"),
        (f"print({KEY!r} + chr(0))", "is not a key"),
        (f"print({KEY!r} * 10_000)", f"wrote more than {MAX_BYTES:,} bytes"),
        (f"while True: print({KEY!r})", f"wrote more than {MAX_BYTES:,} bytes"),
        (f"import sys; sys.stdout.buffer.write(b'{KEY}\\xff')", "is not text"),
    ],
)
def test_what_cannot_be_a_key_is_refused_and_not_shown(
    tmp_path: Path, text: str, words: str
) -> None:
    error = refusal(program(tmp_path, text))
    assert words in error.message
    assert f"cmd:{sys.executable} ..." in error.message


def test_a_program_that_is_not_there_or_is_none_is_said(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    nothing = tmp_path / "nothing"
    for reference in (f"cmd:'{nothing}'", f"cmd:'{folder}'", f"cmd:'{nothing}' --x {KEY[4:]}"):
        error = refusal(reference)
        assert "cannot be started" in error.message
        assert KEY[4:] not in said(error)
    error = refusal("cmd:no-such-program-anywhere")
    assert "no such program on the PATH" in error.message
    assert "short PATH" in error.hint


@posix
def test_a_file_without_a_first_line_that_says_how_to_run_it_is_said(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text(f"echo {KEY}\n", encoding="utf-8")
    script.chmod(0o700)
    assert "cannot be started" in refusal(f"cmd:'{script}'").message


@posix
def test_a_command_that_takes_too_long_ends_with_all_that_it_started(tmp_path: Path) -> None:
    """Also when what it left behind still holds its output, or when it closed that itself."""
    with ThreadPoolExecutor() as pool:
        list(pool.map(partial(_too_slow, tmp_path), ("wait", "exit", "exec 1>&-; wait")))


def _too_slow(folder: Path, parent: str) -> None:
    pids = folder / f"pids of {parent[:5]}"
    script = f"sleep 600 & echo $$ $! > '{pids}'; echo {KEY}; {parent}"
    with pytest.raises(SettingsError) as raised:
        command_output(["sh", "-c", script], ENVIRON, within_s=1)
    assert "'cmd:sh ...' did not end within 1 s" in raised.value.message
    assert KEY not in said(raised.value)
    left = [int(pid) for pid in pids.read_text(encoding="utf-8").split()]
    _, alive = psutil.wait_procs([psutil.Process(p) for p in left if psutil.pid_exists(p)], 5)
    assert all(process.status() == psutil.STATUS_ZOMBIE for process in alive)


@posix
def test_what_a_command_leaves_running_with_its_output_closed_lives_on(tmp_path: Path) -> None:
    """An agent that remembers a passphrase is started like this; it is not ours to end."""
    text = (
        "import subprocess, sys\n"
        "null = subprocess.DEVNULL\n"
        "sleep = [sys.executable, '-c', 'import time; time.sleep(600)']\n"
        "child = subprocess.Popen(sleep, stdin=null, stdout=null, stderr=null)\n"
        "print(child.pid)\n"
    )
    agent = psutil.Process(int(resolve_reference(program(tmp_path, text), ENVIRON).reveal()))
    assert agent.is_running()
    agent.kill()
