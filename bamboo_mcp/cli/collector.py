"""The garbage collector kept out of the way of a start: off while loading, then told what stays.

Importing makes hundreds of thousands of objects that live as long as the process; collecting in the
middle of it walks them again and again for nothing. Measured: 30 ms of the start of `serve`.
"""

from __future__ import annotations

import gc

THRESHOLDS = (200_000, 20, 50)
"""Rarer than the interpreter's own: a thousand subagents are live objects, not garbage, and about
110 000 of them (performance note, sections 2 and 4)."""


def hold_off() -> None:
    """Call first. A command that ends soon never needs the collector at all."""
    gc.disable()


def settle() -> None:
    """Call when a long-lived command is ready: what is there now is never looked at again."""
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
    gc.enable()
