"""Several processes on one machine, each with its own model, on the cores of one run."""

import contextlib
import multiprocessing
import os
import threading
import warnings
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, cast

import torch

from sciddiff.errors import InterruptedRun, OutputError, SciddiffError
from sciddiff.inference.compute import compute_cores
from sciddiff.inference.plan import open_inputs
from sciddiff.inference.runs import open_store
from sciddiff.model import Model
from sciddiff.processes import fresh_context, ignore_stops

TURN = 0.2
"""Seconds between two looks at the stop flag."""


def run_workers(
    model: Model,
    folder: Path,
    numbers: Sequence[int],
    *,
    workers: int,
    batch: int,
    stop: Callable[[], str | None],
    progress: Callable[[int], None],
) -> None:
    """Compute cores in processes of their own.

    Parameters
    ----------
    model, folder
        Of the run; each process gets its own copy of the model, and goes round the GPUs where there are several.
    numbers
        Of the cores; process k takes every `workers`-th.
    workers
        Processes.
    batch, stop, progress
        See `compute.compute_cores`.

    Raises
    ------
    InterruptedRun
        `stop` said so.
    OutputError
        A process was killed.
    SciddiffError
        What a process met.
    """
    context = fresh_context(__name__)
    threads = max(1, (os.cpu_count() or 1) // workers)
    pipes: dict[Connection, Any] = {}
    for number in range(workers):
        ours, theirs = context.Pipe()
        device = _device(model, number)
        part = list(numbers[number::workers])
        process = context.Process(
            target=_work, args=(model.to("cpu"), device, str(folder), part, batch, threads, theirs), daemon=True
        )
        process.start()
        theirs.close()
        pipes[ours] = process
    try:
        _listen(pipes, stop=stop, progress=progress)
    finally:
        for pipe, process in pipes.items():
            pipe.close()
            process.join(timeout=30)
            if process.is_alive():
                process.kill()


def _listen(pipes: dict[Connection, Any], *, stop: Callable[[], str | None], progress: Callable[[int], None]) -> None:
    open_pipes = set(pipes)
    asked: str | None = None
    while open_pipes:
        if asked is None:
            asked = stop()
            if asked is not None:
                for pipe in open_pipes:
                    with contextlib.suppress(BrokenPipeError):  # this one has ended by itself
                        pipe.send(asked)
        for ready in wait(list(open_pipes), timeout=TURN):
            pipe = cast("Connection", ready)
            message = _received(pipe, pipes[pipe])
            if isinstance(message, int):
                progress(message)
                continue
            stopped = asked is not None and isinstance(message, InterruptedRun)
            if message is not None and not stopped:
                raise message
            open_pipes.discard(pipe)
    if asked is not None:
        raise InterruptedRun(f"stopped by {asked}; the same command continues")


def _received(pipe: Connection, process: Any) -> Any:
    try:
        return pipe.recv()
    except (EOFError, ConnectionError):
        process.join()
        raise OutputError(
            f"a worker process ended with exit code {process.exitcode}, perhaps for want of memory: "
            "the same command continues, with fewer --workers if need be"
        ) from None


def _device(model: Model, number: int) -> str:
    """Where a process computes: where the model is, or on the GPUs from that one on, in turn."""
    device = model.device
    if device.type != "cuda":
        return str(device)
    return f"cuda:{((device.index or 0) + number) % torch.cuda.device_count()}"


def _work(
    model: Model, device: str, folder: str, numbers: list[int], batch: int, threads: int, pipe: Connection
) -> None:
    """What a worker process does: it ends with its parent, and tells what went wrong through the pipe."""
    ignore_stops()
    threading.Thread(target=_die_with_parent, daemon=True).start()
    warnings.simplefilter("ignore")  # the parent has said it all
    torch.set_num_threads(threads)
    try:
        run_part(
            model.to(device),
            Path(folder),
            numbers,
            batch=batch,
            stop=lambda: _asked(pipe),
            progress=lambda count: _tell(pipe, count),
        )
        _tell(pipe, None)
    except SciddiffError as error:
        _tell(pipe, error)


def _tell(pipe: Connection, message: Any) -> None:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the parent listens no more
        pipe.send(message)


def run_part(
    model: Model,
    folder: Path,
    numbers: Sequence[int],
    *,
    batch: int,
    stop: Callable[[], str | None] = lambda: None,
    progress: Callable[[int], None] = lambda _: None,
) -> None:
    """Compute cores of a run that is known by its folder only.

    Parameters
    ----------
    model
        On its device.
    folder
        Of the run.
    numbers, batch, stop, progress
        See `compute.compute_cores`.
    """
    store = open_store(folder)
    try:
        fitted = open_inputs(model, store.plan.source, store.plan.inputs)
        compute_cores(model, fitted, store, numbers, batch=batch, stop=stop, progress=progress)
    finally:
        store.close()


def _asked(pipe: Connection) -> str | None:
    try:
        return str(pipe.recv()) if pipe.poll() else None
    except (EOFError, ConnectionResetError):
        return "the end of the run"  # another worker failed, and the parent listens no more


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
