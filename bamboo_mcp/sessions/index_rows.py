"""What a list of sessions is kept in: the seam between `SessionIndex` and its two kinds of file."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import msgspec

from bamboo_mcp.disk.encoding import encode
from bamboo_mcp.domain.ids import SessionId
from bamboo_mcp.domain.sessions import SessionMeta

_WHOLE = 4096
"""A record up to this many bytes is in the index as it is; of a longer one the texts are cut."""
_CUT = 200

Changes: TypeAlias = dict[SessionId, SessionMeta | None]
"""None: deleted."""


class IndexRows(Protocol):
    """A file with a row a session. All methods block: they are called in one worker thread.

    The file is shared by processes. It is compared with the folders when this process first opens
    it, and when somebody made it anew; `known` are the sessions that need not be read for that.

    Raises:
        StorageError: It could not be read or written; the sessions themselves are not touched.
    """

    def page(
        self,
        noted: Changes,
        *,
        limit: int,
        before: float | None,
        subagents_only: bool,
    ) -> Sequence[SessionMeta]:
        """See `SessionStore.list_sessions`; what was `noted` and not yet written counts too."""
        ...

    def write(self, changes: Changes, known: Collection[SessionId]) -> None: ...


def document_of(meta: SessionMeta) -> Mapping[str, Any]:
    """What the index keeps of a record: all of it, or its start and a mark that it is cut."""
    data, cut = row_of(meta)
    document: dict[str, Any] = msgspec.json.decode(data)
    return {**document, "cut": True} if cut else document


def row_of(meta: SessionMeta) -> tuple[bytes, bool]:
    """The same as JSON bytes, and whether it was cut."""
    data = encode(meta)
    if len(data) <= _WHOLE:
        return data, False
    spec = meta.spec
    if spec is not None:
        spec = msgspec.structs.replace(
            spec, task=spec.task[:_CUT], system_prompt=spec.system_prompt[:_CUT]
        )
    short = msgspec.structs.replace(meta, title=meta.title[:_CUT], spec=spec, extra={})
    return encode(short), True
