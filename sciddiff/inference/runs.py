"""The folder of a run, `OUTPUT.run/`: made by whoever comes first, locked, looked at, removed.

It holds `plan.json`, `lock`, and the ledgers and arrays of its `store`, until its outputs are whole.
"""

import json
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sciddiff.errors import OptionError, OutputError
from sciddiff.inference import planfile
from sciddiff.inference.plan import Plan, run_folder
from sciddiff.inference.store import LEDGER, Store, create_arrays
from sciddiff.io.target import sync

PLAN, LOCK, PUBLISHED = "plan.json", "lock", "published.json"
MAKING, DETECTING, DETECTED = "making", "detecting", "detected"
"""Locks of those who make a run and its masks, and the folder of the masks; a run that is begun anew keeps them."""


def open_store(folder: Path) -> Store:
    """Open the store of a run that exists.

    Raises
    ------
    OptionError
        There is none.
    """
    return Store(folder, planfile.from_dict(read_plan(folder), folder))


def read_plan(folder: Path) -> dict[str, Any]:
    """What `plan.json` of a run says.

    Raises
    ------
    OptionError
        There is no such run, or it cannot be read.
    """
    try:
        plan: dict[str, Any] = json.loads((folder / PLAN).read_text())
    except FileNotFoundError:
        raise OptionError(f"{folder}: no run of predict is there") from None
    except (OSError, ValueError) as error:
        raise OptionError(f"{folder / PLAN}: cannot be read: {error}") from error
    return plan


def prepare(plan: Plan, *, overwrite: bool) -> Store:
    """Open the run of a plan, making it where there is none; processes that race for it get the same one.

    Raises
    ------
    OptionError
        Another run is there.
    OutputError
        The folder cannot be written to.
    """
    folder = plan.folder
    try:
        folder.mkdir(exist_ok=True)
        with locked(folder, alone=True, name=MAKING, wait=True):
            if overwrite and (folder / PLAN).exists() and _is_other(plan, folder):
                with locked(folder, alone=True):
                    _empty(folder)
            if not (folder / PLAN).exists():
                _create(plan, folder)
            elif (found := read_plan(folder)).get("creation_options") != dict(plan.creation_options):
                planfile.refuse_other(plan, found, folder)
                _write_plan(plan, folder)  # they change no pixel of the run, so the last ones asked for hold
        planfile.refuse_other(plan, read_plan(folder), folder)
        return open_store(folder)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made: {error.strerror or error}") from error
    except OptionError:
        if (folder / PLAN).exists():
            raise
        raise _finished(folder) from None


def _finished(folder: Path) -> OutputError:
    return OutputError(f"{folder}: another process has just finished this run")


def _is_other(plan: Plan, folder: Path) -> bool:
    try:
        planfile.refuse_other(plan, read_plan(folder), folder)
    except OptionError:
        return True
    return False


def _create(plan: Plan, folder: Path) -> None:
    """Make arrays and ledger, and the plan last: a run without a plan is none."""
    _empty(folder)
    (folder / LEDGER).mkdir()
    store = Store(folder, plan)
    for product in plan.products:
        create_arrays(store, product)
    _write_plan(plan, folder)


def _write_plan(plan: Plan, folder: Path) -> None:
    draft = folder / f"{PLAN}.tmp"
    draft.write_text(json.dumps(planfile.to_dict(plan), indent=2))
    sync(draft)
    os.replace(draft, folder / PLAN)


@contextmanager
def locked(folder: Path, *, alone: bool, name: str = LOCK, wait: bool = False) -> Iterator[None]:
    """Hold a lock of a run: alone, or shared with the other shards. The system drops it when the process ends.

    Raises
    ------
    OutputError
        Another process holds it, unless the lock is waited for.
    """
    path = folder / name
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except FileNotFoundError:
        raise _finished(folder) from None
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}") from error
    try:
        if not _lock(handle, alone=alone, wait=wait):
            who = os.pread(handle, 200, 0).decode(errors="replace").strip() or "another process"
            raise OutputError(f"{folder}: in use by {who}; wait until it ends, or choose another output")
        if not path.exists():
            raise _finished(folder)
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
        yield
    finally:
        os.close(handle)


def _lock(handle: int, *, alone: bool, wait: bool) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows opens no file twice for writing anyway
        return True
    try:
        fcntl.flock(handle, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return False
    return True


def _empty(folder: Path) -> None:
    """Remove all of a run but its locks and its masks, which have a key of their own."""
    for path in folder.iterdir():
        if path.name in {LOCK, MAKING, DETECTING, DETECTED}:
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def remove(folder: Path) -> None:
    """Remove a run, first its plan, last what says that its outputs are published: a kill in between leaves no run
    that looks whole, and what can be removed. What is left in the end goes aside in one step: an empty run beside a
    whole output would be one of which nobody knows."""
    (folder / PLAN).unlink(missing_ok=True)
    last = (DETECTED, PUBLISHED)
    for path in sorted(folder.iterdir(), key=lambda path: (path.name in last, path.name == PUBLISHED)):
        if path.name == PUBLISHED:
            break
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    sweep(folder)
    os.rename(folder, _aside(folder))
    sweep(folder)


def sweep(folder: Path) -> None:
    """Remove what a kill at the very end of a run's removal has left aside."""
    shutil.rmtree(_aside(folder), ignore_errors=True)


def _aside(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.removed")


def check_run(folder: Path, *, deep: bool = False) -> dict[str, Any]:
    """What a run holds, and what is wrong with it.

    Parameters
    ----------
    folder
        `OUTPUT.run`, or the output.
    deep
        Read every finished core and compare checksums.
    """
    folder = folder if (folder / PLAN).exists() or folder.suffix == ".run" else run_folder(folder)
    store = open_store(folder)
    cores = store.done()
    problems = [
        f"core {n} is damaged: the same predict command computes it again"
        for n, core in sorted(cores.items())
        if deep and not store.intact(core)
    ]
    return {
        "kind": "run",
        "path": str(folder),
        "windows": store.plan.layout.count,
        "done": len(cores),
        "outputs": [str(item.path) for item in store.plan.products],
        "problems": problems,
        "notes": [],
    }


def describe_run(folder: Path) -> dict[str, Any]:
    """What a run makes and how far it is, for people and for JSON.

    Parameters
    ----------
    folder
        `OUTPUT.run`.
    """
    store = open_store(folder)
    return {"kind": "run", "path": str(folder), "done": len(store.done()), **store.plan.summary()}
