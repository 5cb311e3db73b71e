"""Signals that ask a run to stop: they only set a flag, which the run looks at between two batches."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

NAMES = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2")


@contextmanager
def stop_signals() -> Iterator[Callable[[], str | None]]:
    """A function that gives the name of the signal that came, if one did; a second one acts as if nobody listened.

    Only the main thread can listen; elsewhere the function gives None.
    """
    came: list[str] = []
    former: dict[int, object] = {}

    def remember(number: int, _frame: object) -> None:
        came.append(signal.Signals(number).name)
        for known, handler in former.items():
            signal.signal(known, handler)  # type: ignore[arg-type]

    if threading.current_thread() is threading.main_thread():
        numbers = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]
        former |= {number: signal.signal(number, remember) for number in numbers}
    try:
        yield lambda: came[0] if came else None
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
