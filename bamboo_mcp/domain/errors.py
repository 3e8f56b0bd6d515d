"""Every error we raise on purpose, one tree, each with a stable code.

    BambooError
    ├── InvalidInput            invalid_input        a wrong argument; says which, what is allowed
    │   ├── UnknownId           unknown_id           no such subagent, session, run, question
    │   ├── UnknownTool         unknown_tool
    │   └── UnknownModel        unknown_model        names what is known
    ├── SettingsError           bad_settings         names the file, the key and what is allowed
    ├── RunClosed               run_closed           past its last round; the message was not queued
    ├── RunBusy                 run_busy             the session has a run under way (says which)
    ├── LimitReached            limit_reached        depth, concurrency, rounds, tokens, money, time
    ├── PermissionDenied        permission_denied    policy or a person said no
    ├── WorkspaceError          workspace_error      outside the root, a device, too large
    │   └── WorkspaceNotSet     workspace_not_set    says which flag to add
    ├── StorageError            storage_error        reading or writing the home folder failed
    │   ├── StorageFull         storage_full         the disk is full; what was written is safe
    │   ├── StorageCorrupt      storage_corrupt      a record does not check out; names the place
    │   └── StorageTooNew       storage_too_new      written by a newer version of bamboo-mcp
    ├── PluginError             plugin_error         a plugin failed; the host goes on
    ├── NotOwner                not_owner            the run belongs to another server process
    ├── OutputInvalid           output_invalid       the answer does not fit the schema asked for
    ├── ContextFull             context_full         longer than the model's window
    └── ProviderError           provider_error       a model failed; kinds: `domain.provider_errors`

Three audiences, three forms: the model reads `ToolResult(is_error=True)`, the caller catches
these, the operator reads the log.
"""

from __future__ import annotations

from typing import ClassVar


class BambooError(Exception):
    """What happened, with which value, and in `hint` what to do next."""

    code: ClassVar[str] = "error"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class InvalidInput(BambooError):
    code = "invalid_input"


class UnknownId(InvalidInput):
    code = "unknown_id"


class UnknownTool(InvalidInput):
    code = "unknown_tool"


class UnknownModel(InvalidInput):
    code = "unknown_model"


class SettingsError(BambooError):
    code = "bad_settings"


class RunClosed(BambooError):
    code = "run_closed"


class RunBusy(BambooError):
    """`run_id` is the run under way."""

    code = "run_busy"
    retryable = True

    def __init__(self, message: str, *, run_id: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.run_id = run_id


class LimitReached(BambooError):
    code = "limit_reached"


class PermissionDenied(BambooError):
    code = "permission_denied"


class WorkspaceError(BambooError):
    code = "workspace_error"


class WorkspaceNotSet(WorkspaceError):
    code = "workspace_not_set"


class StorageError(BambooError):
    code = "storage_error"
    retryable = True


class StorageFull(StorageError):
    code = "storage_full"


class StorageCorrupt(StorageError):
    code = "storage_corrupt"
    retryable = False


class StorageTooNew(StorageError):
    code = "storage_too_new"
    retryable = False


class PluginError(BambooError):
    code = "plugin_error"


class NotOwner(BambooError):
    code = "not_owner"


class OutputInvalid(BambooError):
    code = "output_invalid"


class ContextFull(BambooError):
    code = "context_full"


class ProviderError(BambooError):
    code = "provider_error"
