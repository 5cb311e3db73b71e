"""Cores of a run in one process: reader threads and a writer thread keep the device busy."""

import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from sciddiff.errors import InputError, InterruptedRun, OptionError
from sciddiff.inference.store import Store
from sciddiff.model import Model, memory
from sciddiff.model.fit import Fitted
from sciddiff.model.reading import Group, read_group
from sciddiff.model.tiles import Tile, compute_group
from sciddiff.model.windows import Window

READERS = 2
WAITING = 2
"""Batches that are read ahead, and that wait to be written."""

log = logging.getLogger("sciddiff")


def compute_cores(
    model: Model,
    fitted: Fitted,
    store: Store,
    numbers: Sequence[int],
    *,
    batch: int,
    stop: Callable[[], str | None] = lambda: None,
    progress: Callable[[int], None] = lambda _: None,
) -> None:
    """Compute cores and put them into the store.

    Parameters
    ----------
    model, fitted
        See `model.tiles`.
    store
        Of the run.
    numbers
        Of the cores.
    batch
        Windows at once; halved where the device has no memory for them.
    stop
        Looked at before each batch: the name of a signal ends the run after what is in flight.
    progress
        Called with the number of cores written, after each batch.

    Raises
    ------
    InterruptedRun
        `stop` said so; all that was computed is in the store.
    OptionError
        The device has no memory for a single window.
    """
    layout = store.plan.layout
    size, left = batch, deque(numbers)
    reading: deque[tuple[list[int], Future[Group]]] = deque()
    writing: deque[tuple[int, Future[None]]] = deque()

    def written(waiting: int) -> None:
        while len(writing) > waiting:
            count, future = writing.popleft()
            future.result()
            progress(count)

    def put(taken: list[int], tiles: list[Tile]) -> None:
        for number, tile in zip(taken, tiles, strict=True):
            store.put(number, tile)

    with memory.kept(), ThreadPoolExecutor(READERS) as readers, ThreadPoolExecutor(1) as writer:
        try:
            while left or reading:
                while left and len(reading) < WAITING:
                    taken = [left.popleft() for _ in range(min(size, len(left)))]
                    windows = [layout.window(number) for number in taken]
                    reading.append((taken, readers.submit(_read, model, fitted, store, windows)))
                if (name := stop()) is not None:
                    written(0)
                    raise InterruptedRun(f"stopped by {name}; the same command continues")
                taken, future = reading.popleft()
                tiles, size = _within_memory(model, future.result(), store, positions=fitted.results, size=size)
                writing.append((len(taken), writer.submit(put, taken, tiles)))
                written(WAITING)
            written(0)
        finally:
            readers.shutdown(cancel_futures=True)


def _read(model: Model, fitted: Fitted, store: Store, windows: Sequence[Window]) -> Group:
    try:
        return read_group(model, fitted, store.plan.layout, windows)
    except InputError as error:
        first, r = windows[0], store.plan.layout.ratio
        where = f"the window at row {first.row // r}, column {first.col // r} and its surroundings"
        raise InputError(f"{error} (in {where})") from error


def _within_memory(
    model: Model, group: Group, store: Store, *, positions: Sequence[int], size: int
) -> tuple[list[Tile], int]:
    """Compute a group in parts of at most `size` windows; the tiles, and the size that fitted."""
    layout, request = store.plan.layout, store.plan.request
    while True:
        try:
            return compute_group(model, group, layout, request, positions=positions, batch=size), size
        except InputError as error:
            raise InputError(f"{store.plan.source}: {error}") from error
        except torch.OutOfMemoryError as error:
            if size == 1:
                side = layout.tile + 2 * layout.halo
                raise OptionError(
                    f"{model.device} has no memory for one window of {side} x {side} pixels; "
                    f"pass a --tile smaller than {layout.tile}"
                ) from error
        size = (size + 1) // 2
        log.warning("out of memory: batches of %d from here on", size)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
