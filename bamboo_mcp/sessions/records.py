"""A session's record on disk: born in its journal's header, edited in `session.json` beside it."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path
from zlib import crc32

import msgspec

from bamboo_mcp.disk.atomic import replace_file
from bamboo_mcp.disk.calls import DiskCalls, shown_path, storage_error
from bamboo_mcp.disk.encoding import encode
from bamboo_mcp.disk.journal import FORMAT, Header, Page, read_journal
from bamboo_mcp.disk.layout import is_plain
from bamboo_mcp.domain.errors import StorageTooNew, UnknownId
from bamboo_mcp.domain.ids import SessionId
from bamboo_mcp.domain.sessions import SessionMeta
from bamboo_mcp.domain.value import Value
from bamboo_mcp.sessions.listing import unknown

logger = logging.getLogger(__name__)

KIND = "session"
MESSAGES = "messages.jsonl"
RECORD = "session.json"


class _Stored(Value, frozen=True, kw_only=True):
    """`crc32` is that of the two others, see `_checksum`; older files of this format have none."""

    format: int
    session: msgspec.Raw
    crc32: str = ""


class _Format(Value, frozen=True, kw_only=True):
    format: int = 0


_decode_stored = msgspec.json.Decoder(_Stored).decode
_decode_format = msgspec.json.Decoder(_Format).decode
_decode_meta = msgspec.json.Decoder(SessionMeta).decode


def session_folder(sessions: Path, session_id: str) -> Path:
    """Raises `UnknownId` for an id that is no id: it could lead out of the home folder."""
    if not is_plain(session_id):
        raise unknown(session_id)
    return sessions / session_id


def read_messages(
    folder: Path, *, after: int = 0, tail: int | None = None, limit: int | None = None
) -> Page:
    """As `read_journal`, for a session.

    Raises:
        UnknownId: No such session, also when its making was cut short before it was told of.
    """
    try:
        page = read_journal(str(folder / MESSAGES), KIND, after=after, tail=tail, limit=limit)
    except UnknownId as error:
        raise unknown(folder.name) from error
    for damage in page.damage:
        logger.warning("session %s: damaged message stepped over: %s", folder.name, damage)
    if page.header is None and page.last_seq == 0 and not (folder / RECORD).exists():
        raise unknown(folder.name)
    return page


def read_meta(folder: Path, header: Header | None = None) -> SessionMeta:
    """The session's record as it is now: `session.json` wins over the header it was born with.

    When both are damaged the messages are still worth having: they get a bare record.

    Raises:
        UnknownId: No such session.
        StorageTooNew: Written by a newer version.
    """
    edited = _read_edited(folder)
    if edited is not None:
        return edited
    if header is None:
        header = read_messages(folder, limit=0).header
    if header is not None:
        try:
            return _decode_meta(header.made)
        except msgspec.DecodeError as error:
            logger.warning("session %s: its header makes no sense: %s", folder.name, error)
    logger.warning("session %s: its record is damaged; title and model are lost", folder.name)
    return SessionMeta(
        session_id=SessionId(folder.name), created_at=(folder / MESSAGES).stat().st_mtime
    )


def write_meta(folder: Path, meta: SessionMeta, *, durable: bool, calls: DiskCalls) -> None:
    """Replace `session.json`, keeping one that cannot be read aside. The caller holds its lock."""
    path = folder / RECORD
    if path.exists() and _read_edited(folder) is None:
        with contextlib.suppress(OSError):
            calls.replace(str(path), str(path) + ".bak")
    session = encode(meta)
    stored = _Stored(format=FORMAT, session=msgspec.Raw(session), crc32=_checksum(FORMAT, session))
    replace_file(path, encode(stored), durable=durable, calls=calls)


def record_fault(folder: Path) -> str:
    """What is wrong with `session.json`; "" when nothing is, or there is none.

    One flipped bit may leave it readable: then it counts as it is, and only this tells.

    Raises:
        StorageTooNew: Written by a newer version.
    """
    path = folder / RECORD
    if not path.exists():
        return ""
    data = path.read_bytes()
    try:
        stored = _decode_stored(data)
    except msgspec.DecodeError:
        return "" if _read_edited(folder) is not None else "it cannot be read"
    if stored.crc32 and stored.crc32 != _checksum(stored.format, bytes(stored.session)):
        return "the checksum does not match"
    edited = _read_edited(folder)
    if edited is None:
        return "it cannot be read"
    if not stored.crc32 and data != encode(stored):
        return "it is not as it was written"
    if edited.session_id != folder.name:
        return f"it is the record of another session: {edited.session_id!r}"
    return ""


def _checksum(format_number: int, session: bytes) -> str:
    return f"{crc32(b'%d %b' % (format_number, session)):08x}"


def _read_edited(folder: Path) -> SessionMeta | None:
    """What is in `session.json`; None when it was never written or is damaged."""
    path = folder / RECORD
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise storage_error(error, str(path), "read") from error
    try:
        version = _decode_format(data).format
        if version > FORMAT:
            raise StorageTooNew(
                f"{shown_path(path)!r} has format {version}; this bamboo-mcp reads up to {FORMAT}",
                hint="use the newer bamboo-mcp that wrote it",
            )
        return _decode_meta(_decode_stored(data).session)
    except msgspec.DecodeError as error:
        logger.warning("session %s: session.json is damaged: %s", folder.name, error)
        return None
