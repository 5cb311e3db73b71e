"""Processes that share nothing with the one that starts them, and never hear the signals that ask a run to stop."""

import contextlib
import multiprocessing
import signal
from collections.abc import Iterator
from multiprocessing import forkserver, resource_tracker
from typing import Any

from sciddiff.stopping import NAMES


def fresh_context(preload: str) -> Any:
    """What starts such processes; where the system can, from one that has loaded what they need, such as torch.

    Parameters
    ----------
    preload
        The module with what they do.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([preload])
    for each in (resource_tracker, forkserver):  # the start of the tracker lets signals in again
        with _deaf():
            each.ensure_running()
    return context


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    """Start processes that never get the signals which ask this one to stop, though a whole group is sent them.

    Python's fork server and the tracker of what processes share would end by them, and the next one know nothing of
    what the first was told. A blocked signal is blocked in a child too, and reaches this process afterwards.
    """
    numbers = {getattr(signal, name) for name in NAMES if hasattr(signal, name)}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ignore_stops() -> None:
    """In such a process: the one that started it says when to stop, also where signals cannot be blocked."""
    for name in NAMES:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
