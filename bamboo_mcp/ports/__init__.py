"""Every seam of the system, as a Protocol whose docstring is the contract.

May import: `domain`. What needs opening is an async context manager entered by `app` in one exit
stack, so no port has `start` or `close`. Ports are async only, except where a call promises neither
to block nor to wait. Each port has a contract suite in `testing.contracts` that runs over every
implementation, a plugin author's too. Grow by adding a port, not a parameter.
"""

from bamboo_mcp.ports.models import (
    Models,
    Notify,
    Provider,
)
from bamboo_mcp.ports.runs import (
    NO_PARTS,
    AtRunEnd,
    Compactor,
    CompletionHook,
    Conversation,
    Emit,
    EventLog,
    EventSink,
    Execute,
    Inbox,
    Reserve,
    RunBody,
    RunParts,
    Runs,
)
from bamboo_mcp.ports.sessions import (
    SessionStore,
    SessionWriter,
)
from bamboo_mcp.ports.subagents import (
    Launcher,
    Notices,
    SubagentLink,
    SubagentPort,
)
from bamboo_mcp.ports.tools import (
    Policy,
    Questions,
    ToolContext,
    ToolExecutor,
)

__all__ = [
    "NO_PARTS",
    "AtRunEnd",
    "Compactor",
    "CompletionHook",
    "Conversation",
    "Emit",
    "EventLog",
    "EventSink",
    "Execute",
    "Inbox",
    "Launcher",
    "Models",
    "Notices",
    "Notify",
    "Policy",
    "Provider",
    "Questions",
    "Reserve",
    "RunBody",
    "RunParts",
    "Runs",
    "SessionStore",
    "SessionWriter",
    "SubagentLink",
    "SubagentPort",
    "ToolContext",
    "ToolExecutor",
]
