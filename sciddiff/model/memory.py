"""Memory between two windows: kept for the next, which wants the same again."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

TRIM_THRESHOLD, MMAP_THRESHOLD, ARENA_MAX = -1, -3, -8
"""Numbers of the parameters of glibc's `mallopt`."""
MOST = 2**28
"""Bytes freed at the end of the heap that are kept at most."""
LARGEST = 2**24
"""Blocks up to this size come from the heap. Twice as much saves a quarter of the time and costs 0.3 GB at the peak."""


@contextmanager
def kept() -> Iterator[None]:
    """Keep memory that is freed inside, and give it back to the system in the end.

    glibc gives large blocks back at once and asks for them anew, page by page, each cleared: a tenth of what a window
    costs on a processor. Other libraries of C are left as they are.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if libc is None or not hasattr(libc, "mallopt") or not hasattr(libc, "malloc_trim"):
        yield
        return
    libc.mallopt(ARENA_MAX, 1)  # what one thread has freed serves the others
    libc.mallopt(MMAP_THRESHOLD, LARGEST)
    libc.mallopt(TRIM_THRESHOLD, MOST)
    try:
        yield
    finally:
        libc.mallopt(TRIM_THRESHOLD, 2 * LARGEST)  # where glibc's own rule ends after a block of the largest size
        libc.malloc_trim(0)
