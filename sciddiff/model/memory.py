"""Memory between two windows: kept for the next, which wants the same again."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Numbers of the parameters of glibc's `mallopt`."""
LARGEST = 2**25
"""Blocks up to this size come from the heap: the most that every glibc takes."""


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
    libc.mallopt(MMAP_THRESHOLD, LARGEST)
    libc.mallopt(TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        libc.mallopt(TRIM_THRESHOLD, 2 * LARGEST)  # where glibc's own rule ends after a block of the largest size
        libc.malloc_trim(0)
