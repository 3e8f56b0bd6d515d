"""A Windows job object that ends every process in it when it is closed, or when this process dies.

Written against the documentation; it has not been tried on Windows yet.
"""

from __future__ import annotations

import ctypes
import sys
from ctypes import wintypes
from types import TracebackType

from bamboo_mcp.domain.errors import WorkspaceError

_BASIC_ACCOUNTING = 1
_EXTENDED_LIMITS = 9
_KILL_ON_JOB_CLOSE = 0x2000
_PROCESS_TERMINATE = 0x0001
_PROCESS_SET_QUOTA = 0x0100


class _BasicLimits(ctypes.Structure):
    _fields_ = (
        ("PerProcessUserTimeLimit", ctypes.c_int64),
        ("PerJobUserTimeLimit", ctypes.c_int64),
        ("LimitFlags", wintypes.DWORD),
        ("MinimumWorkingSetSize", ctypes.c_size_t),
        ("MaximumWorkingSetSize", ctypes.c_size_t),
        ("ActiveProcessLimit", wintypes.DWORD),
        ("Affinity", ctypes.c_size_t),
        ("PriorityClass", wintypes.DWORD),
        ("SchedulingClass", wintypes.DWORD),
    )


class _ExtendedLimits(ctypes.Structure):
    _fields_ = (
        ("BasicLimitInformation", _BasicLimits),
        ("IoInfo", ctypes.c_uint64 * 6),
        ("ProcessMemoryLimit", ctypes.c_size_t),
        ("JobMemoryLimit", ctypes.c_size_t),
        ("PeakProcessMemoryUsed", ctypes.c_size_t),
        ("PeakJobMemoryUsed", ctypes.c_size_t),
    )


class _Accounting(ctypes.Structure):
    _fields_ = (
        ("Times", ctypes.c_int64 * 4),
        ("TotalPageFaultCount", wintypes.DWORD),
        ("TotalProcesses", wintypes.DWORD),
        ("ActiveProcesses", wintypes.DWORD),
        ("TotalTerminatedProcesses", wintypes.DWORD),
    )


if sys.platform == "win32":
    _kernel = ctypes.WinDLL("kernel32", use_last_error=True)
    _kernel.CreateJobObjectW.restype = wintypes.HANDLE
    _kernel.CreateJobObjectW.argtypes = (ctypes.c_void_p, wintypes.LPCWSTR)
    _kernel.OpenProcess.restype = wintypes.HANDLE
    _kernel.OpenProcess.argtypes = (wintypes.DWORD, wintypes.BOOL, wintypes.DWORD)
    _kernel.AssignProcessToJobObject.argtypes = (wintypes.HANDLE, wintypes.HANDLE)
    _kernel.TerminateJobObject.argtypes = (wintypes.HANDLE, wintypes.UINT)
    _kernel.CloseHandle.argtypes = (wintypes.HANDLE,)
    _kernel.SetInformationJobObject.argtypes = (
        wintypes.HANDLE,
        ctypes.c_int,
        ctypes.c_void_p,
        wintypes.DWORD,
    )
    _kernel.QueryInformationJobObject.argtypes = (
        wintypes.HANDLE,
        ctypes.c_int,
        ctypes.c_void_p,
        wintypes.DWORD,
        ctypes.c_void_p,
    )

    class Job:
        """Holds the only handle to the job: closed, on purpose or by our death, all in it end."""

        def __init__(self) -> None:
            self._handle = _kernel.CreateJobObjectW(None, None)
            if not self._handle:
                raise _failed("CreateJobObject")
            limits = _ExtendedLimits()
            limits.BasicLimitInformation.LimitFlags = _KILL_ON_JOB_CLOSE
            done = _kernel.SetInformationJobObject(
                self._handle, _EXTENDED_LIMITS, ctypes.byref(limits), ctypes.sizeof(limits)
            )
            if not done:
                failure = _failed("SetInformationJobObject")
                _kernel.CloseHandle(self._handle)
                raise failure

        def __enter__(self) -> Job:
            return self

        def __exit__(
            self,
            kind: type[BaseException] | None,
            error: BaseException | None,
            trace: TracebackType | None,
        ) -> None:
            _kernel.CloseHandle(self._handle)

        def take(self, pid: int) -> None:
            """Put a process in. What it started before this moment stays outside."""
            process = _kernel.OpenProcess(_PROCESS_TERMINATE | _PROCESS_SET_QUOTA, False, pid)
            if not process:
                return  # it has ended already
            try:
                if not _kernel.AssignProcessToJobObject(self._handle, process):
                    raise _failed("AssignProcessToJobObject")
            finally:
                _kernel.CloseHandle(process)

        def end(self) -> int:
            """End all in the job; how many there were."""
            accounting = _Accounting()
            _kernel.QueryInformationJobObject(
                self._handle,
                _BASIC_ACCOUNTING,
                ctypes.byref(accounting),
                ctypes.sizeof(accounting),
                None,
            )
            _kernel.TerminateJobObject(self._handle, 1)
            return int(accounting.ActiveProcesses)

    def _failed(call: str) -> WorkspaceError:
        reason = ctypes.FormatError(ctypes.get_last_error())
        return WorkspaceError(f"the command could not be confined: {call}: {reason}")
