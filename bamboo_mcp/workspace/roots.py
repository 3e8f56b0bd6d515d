"""The workspace rule: which folder may be a workspace, and which paths lie inside it."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

from bamboo_mcp.domain.errors import WorkspaceError, WorkspaceNotSet
from bamboo_mcp.ports import ToolContext

_HOW_TO_SET = "Start the server with `--workspace PATH`, an existing folder."


def checked_root(path: str | Path) -> Path:
    """The folder resolved, if it may be a workspace.

    Raises:
        WorkspaceError: It does not exist, is no folder, or is `/`, a drive or the home folder.
    """
    text = os.fspath(path)
    if not text or "\0" in text:
        raise WorkspaceError(f"the workspace {text!r} is no path", hint=_HOW_TO_SET)
    try:
        root = Path(text).expanduser().resolve(strict=True)
    except (OSError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no such home folder"
        message = f"the workspace {text!r} cannot be used: {reason}"
        raise WorkspaceError(message, hint=_HOW_TO_SET) from error
    if not root.is_dir():
        raise WorkspaceError(f"the workspace {text!r} is not a folder", hint=_HOW_TO_SET)
    if root == Path(root.anchor):
        message = f"the workspace {text!r} is the whole file system"
        raise WorkspaceError(message, hint="Choose the folder of one project.")
    if root == _home():
        message = f"the workspace {text!r} is the home folder, with keys and mail in it"
        raise WorkspaceError(message, hint="Choose the folder of one project.")
    return root


def _home() -> Path | None:
    try:
        return Path.home().resolve()
    except (OSError, RuntimeError):
        return None


def root_of(context: ToolContext) -> Path:
    """The workspace of a call.

    Raises:
        WorkspaceNotSet: There is none.
    """
    if context.workspace is None:
        raise WorkspaceNotSet("this server has no workspace", hint=_HOW_TO_SET)
    return context.workspace


def relative_path(root: Path, path: str) -> str:
    """`path` as seen from `root`, with `/` between its parts; "." is the root itself.

    `..` is taken back by the letter, as in a URL, before any link is looked at. An absolute path
    must lie inside.

    Raises:
        WorkspaceError: It leads out, or cannot be a path at all.
    """
    _refuse_impossible(path)
    text = path.replace("\\", "/") if sys.platform == "win32" else path
    if not os.path.isabs(text):  # noqa: PTH117 (a string question; nothing is looked up)
        return _without_dots(text, path)
    inside = _strip(root, os.path.normpath(text))
    if inside is None:
        # The root may have been written through a link (/tmp on macOS): compare resolved once.
        inside = _strip(root, os.path.realpath(text))
    if inside is None:
        raise _leads_out(path)
    return _without_dots(inside, path)


def _refuse_impossible(path: str) -> None:
    if "\0" in path:
        raise WorkspaceError(f"the path {path!r} contains a NUL character")
    try:
        encoded = os.fsencode(path)
    except UnicodeEncodeError:
        raise WorkspaceError(f"the path {path!r} contains half a character") from None
    if len(encoded) > 4000:
        raise WorkspaceError(f"the path {path[:40]!r}... is {len(encoded)} bytes long, over 4000")


def _strip(root: Path, absolute: str) -> str | None:
    try:
        return Path(absolute).relative_to(root).as_posix()
    except ValueError:
        return None


def _without_dots(relative: str, path: str) -> str:
    parts: list[str] = []
    for part in relative.split("/"):
        if part in ("", "."):
            continue
        if part == "..":
            if not parts:
                raise _leads_out(path)
            parts.pop()
            continue
        if sys.platform == "win32" and (":" in part or part.rstrip(". ") != part):
            raise WorkspaceError(
                f"the path {path!r} has a part {part!r} that Windows reads otherwise"
            )
        parts.append(part)
    return "/".join(parts) or "."


def _leads_out(path: str) -> WorkspaceError:
    return WorkspaceError(
        f"the path {path!r} leads out of the workspace",
        hint="Give a path relative to the workspace, such as 'src/main.py' or '.'.",
    )


def refuse_special(mode: int, path: str) -> None:
    """Only plain files are read and written.

    Raises:
        WorkspaceError: A folder, a device, a FIFO or a socket.
    """
    if stat.S_ISREG(mode):
        return
    if stat.S_ISDIR(mode):
        raise WorkspaceError(
            f"{path!r} is a folder", hint="Use list_directory to see what is in it."
        )
    kind = {stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}.get(stat.S_IFMT(mode), "a device")
    raise WorkspaceError(f"{path!r} is {kind}, not a file")
