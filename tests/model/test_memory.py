"""What a window frees is there for the next one, and goes back to the system in the end."""

import os
import platform

import numpy as np
import pytest

from sciddiff.model import memory

resource = pytest.importorskip("resource")

BLOCK = memory.LARGEST * 3 // 4
"""Bytes; below the largest block that stays on the heap."""

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc alone")


def window() -> None:
    """Fill six blocks, and free them."""
    del [np.ones(BLOCK, np.uint8) for _ in range(6)][:]


def faults() -> int:
    """Pages that the system gave during one more window."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    window()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def resident() -> int:
    """Bytes of this process that are in memory."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_freed_memory_serves_the_next_window_and_then_returns() -> None:
    with memory.kept():
        window()
        assert faults() < 100  # of 18 432
        held = resident()
    assert held - resident() > 5 * BLOCK
    assert faults() > 1000
