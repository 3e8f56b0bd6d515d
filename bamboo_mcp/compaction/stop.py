"""The compactor that never forgets: it stops the run when the conversation no longer fits."""

from __future__ import annotations

from collections.abc import Sequence

from bamboo_mcp.domain.errors import ContextFull
from bamboo_mcp.domain.messages import Message
from bamboo_mcp.domain.models import ModelCaps


class StopWhenFull:
    """A `Compactor` that keeps every message and refuses to go on past the window."""

    async def fit(
        self, history: Sequence[Message], *, tokens: int, caps: ModelCaps
    ) -> Sequence[Message] | None:
        room = caps.context_window - min(caps.max_output, caps.context_window // 4)
        if tokens <= room:
            return None
        raise ContextFull(
            f"the conversation has about {tokens} tokens, the model reads {room} "
            f"beside its answer ({caps.context_window} in all)",
            hint="start a new subagent with a shorter task, or name a model with a larger window",
        )
