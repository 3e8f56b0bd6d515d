from __future__ import annotations

import os
import sys

import pytest

if sys.platform == "win32":
    pytest.skip("the guard is POSIX's", allow_module_level=True)

from bamboo_mcp.workspace.shell_guard import descendants, processes_by_ps, processes_of_linux

TREE = [(1, 0, 1), (10, 1, 10), (11, 10, 10), (12, 11, 12), (13, 12, 12), (20, 1, 10), (21, 20, 21)]


def test_descendants_are_followed_through_every_generation() -> None:
    assert descendants(10, TREE) == {11, 12, 13}
    assert descendants(13, TREE) == set()


def test_a_group_is_ended_with_what_is_below_it() -> None:
    assert descendants(11, TREE, group=10) == {10, 12, 13, 20, 21}


def test_a_table_that_goes_in_a_circle_ends() -> None:
    assert descendants(1, [(1, 2, 0), (2, 1, 0)]) == {2}


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_this_process_is_in_the_table_of_linux() -> None:
    assert (os.getpid(), os.getppid(), os.getpgid(0)) in processes_of_linux()


@pytest.mark.skipif(not os.access("/bin/ps", os.X_OK), reason="no ps here")
def test_this_process_is_in_the_table_of_ps() -> None:
    assert (os.getpid(), os.getppid(), os.getpgid(0)) in processes_by_ps()
