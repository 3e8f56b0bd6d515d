"""The two shapes of a value: `Value`, frozen, and `Tagged`, a member of a closed union.

Both are keyword-only. msgspec's Struct stands where a frozen, slotted dataclass would: the same
shape for the type checker and for `match`, twelve times cheaper to make, and it reads and writes
JSON itself. Unknown fields are ignored on reading, so a file written by a newer minor version still
opens.

Data of which there is much also says `gc=False`: the cyclic collector does not look at it, where it
would walk through a thousand conversations again and again. That is for values made of values
alone; one that holds a callable or a port could be part of a cycle, which then would never go.

`frozen` and `kw_only` are repeated on every class: msgspec does not inherit the second, and the
type checker reads both only there.
"""

from __future__ import annotations

import msgspec


def _snake(name: str) -> str:
    name = name.removesuffix("Block").removesuffix("Chunk")
    return "".join("_" + c.lower() if c.isupper() and i else c.lower() for i, c in enumerate(name))


class Value(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A plain value. Compare by content; derive a changed copy with `msgspec.structs.replace`."""


class Tagged(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    gc=False,
    tag_field="kind",
    tag=_snake,
):
    """A member of a closed union: on the wire it carries `kind`, its class name in snake_case.

    `TextBlock` is `text`, `RunEnded` is `run_ended`.
    """
