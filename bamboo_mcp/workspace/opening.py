"""Opens the best door to a workspace that this system has."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bamboo_mcp.workspace.door import Door, telling


@contextmanager
def open_door(root: Path) -> Iterator[Door]:
    """The best door this system has (see `beneath`).

    Raises:
        WorkspaceError: The root is gone.
    """
    if sys.platform == "win32":
        from bamboo_mcp.workspace.resolving_door import ResolvingDoor

        yield ResolvingDoor(root)
    else:
        from bamboo_mcp.workspace.descriptor_door import DescriptorDoor

        with telling("."):
            descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield DescriptorDoor(root, descriptor)
        finally:
            os.close(descriptor)
