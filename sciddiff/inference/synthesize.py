"""New labelled images: masks given or made, an image for each, a line in a manifest; continued where it stopped."""

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from itertools import islice
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

from sciddiff import io
from sciddiff.errors import InterruptedRun, OptionError, OutputError, OutputExistsError
from sciddiff.inference.files import predict_file
from sciddiff.inference.key import fingerprint, model_hash, weaker_hash
from sciddiff.inference.layouts import Layouts, Made, Mask, write_mask
from sciddiff.inference.manifest import Line, Manifest
from sciddiff.inference.wish import Wish, for_stack, task_of, told
from sciddiff.inference.workers import TURN
from sciddiff.model import Model
from sciddiff.model.result import Stored
from sciddiff.processes import fresh_context
from sciddiff.stopping import NAMES, stop_signals

FOLDERS = "images", "labels"


def _steps(model: Model, wish: Wish) -> int:
    steps = wish.steps or model.recipe.sampler.steps
    if steps < 2:
        raise OptionError("an image that could be needs steps of 2 or more; steps=1 is the mean of all")
    return steps


def synthesize(
    model: Model,
    folder: Path,
    wish: Wish,
    *,
    workers: int | None = None,
    tile: int | None = None,
    overwrite: bool = False,
    command: str = "",
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> dict[str, Any]:
    """Make labelled images, or continue where the same call stopped.

    Parameters
    ----------
    model
        Of synthesis.
    folder
        Where `images/`, `labels/` and `manifest.csv` go; equal names belong together.
    wish
        What is asked of them.
    workers
        Processes: each makes whole images, or, where there are fewer images than processes, tiles of one.
    tile
        Side of the cores in pixels: memory and speed, never the result.
    overwrite
        Whether what another call has left in the folder may be replaced.
    command
        For the provenance.
    progress
        Called with (images done, images).

    Returns
    -------
    dict
        Folder, number of images, manifest.

    Raises
    ------
    InputError
        A mask does not fit the model.
    OptionError
        The model does not know what is asked, or the folder holds what another call made.
    OutputExistsError
        It holds other files.
    InterruptedRun
        After a signal; the same call continues.
    """
    instrument, stored = told(model, wish)
    layouts = Layouts(model, wish, task_of(model).settings)
    layouts.check(model)
    count = wish.count if wish.count is not None else max(len(wish.masks), 1)
    names = layouts.names(count)
    job = _Job(folder, wish, layouts, instrument, stored, _steps(model, wish), tile=tile, command=command)
    _begin(job, model, overwrite=overwrite)
    manifest = Manifest(folder / "manifest.csv")
    left = [number for number, name in enumerate(names) if not manifest.has(name)]
    done = count - len(left)
    progress(done, count)
    with stop_signals() as stop:
        for line in _made(model, job, left, workers, stop):
            manifest.add(line)
            done += 1
            progress(done, count)
        if stop() is not None and done < count:
            raise InterruptedRun(f"stopped at image {done} of {count}; the same command continues")
    manifest.sort(names)
    return {"folder": str(folder), "images": count, "manifest": str(manifest.path)}


@dataclass(frozen=True)
class _Job:
    """All that a process needs beside the model to make one image."""

    folder: Path
    wish: Wish
    layouts: Layouts
    instrument: Mapping[str, tuple[float, ...]]
    stored: Stored
    steps: int
    tile: int | None
    command: str

    def make(self, model: Model, number: int, *, workers: int | None = None) -> Line:
        """The mask and the image of a number, and their line in the manifest."""
        wish, name = self.wish, self.layouts.name(number)
        mask, source = self.layouts.mask(model, number)
        labels = self.folder / "labels" / f"{name}{_suffix(mask)}"
        write_mask(mask, labels)
        image = self.folder / "images" / f"{name}{_suffix(mask)}"
        instrument, stored = self.instrument, self.stored
        if image.name.endswith(".ome.tif"):
            instrument, stored = for_stack(model, instrument, stored)
        if not image.exists():
            predict_file(
                model,
                str(labels),
                image,
                steps=self.steps,
                seed=wish.seed + number,
                inputs=self.layouts.inputs,
                instrument=instrument,
                guidance=wish.guidance,
                strength=wish.strength,
                stored=stored,
                tile=self.tile,
                workers=workers,
                command=self.command,
            )
        if wish.layout == "none":  # the mask told nothing: it is no label of what came
            labels.unlink()
        return Line.of(
            name,
            image=image.relative_to(self.folder),
            labels=None if wish.layout == "none" else labels.relative_to(self.folder),
            source=source,
            wish={**asdict(wish), "steps": self.steps, "seed": wish.seed + number},
        )


def _suffix(mask: Mask) -> str:
    if isinstance(mask, Made):
        return ".tif"
    image = io.open(mask) if isinstance(mask, str) else mask
    return ".ome.tif" if "stack" in image.encoding else ".tif"


def _key(job: _Job, model: Model) -> dict[str, Any]:
    """What decides the images, field by field, but how many there are: more may be asked for later."""
    wish = job.wish
    paths = [*wish.masks, *(path for path in (wish.style, wish.image, wish.region) if path)]
    key = {name: value for name, value in asdict(wish).items() if name != "count"}
    key |= {"model": model_hash(model), **weaker_hash(model, wish.guidance), "steps": job.steps}
    key["files"] = [fingerprint(path) for path in paths]
    plain: dict[str, Any] = json.loads(json.dumps(key))
    return plain


def _begin(job: _Job, model: Model, *, overwrite: bool) -> None:
    """Make the folders, or see that they are of the same call.

    Raises
    ------
    OptionError
        They are of another one, or hold what the images are made from.
    OutputExistsError
        They hold files that no call has made.
    OutputError
        They cannot be made.
    """
    folders, wish = [job.folder / name for name in FOLDERS], job.wish
    for source in (*wish.masks, wish.style, wish.image, wish.region):
        if source is not None and Path(source).resolve().parent in [folder.resolve() for folder in folders]:
            raise OptionError(f"{source} lies where images and labels are to go; choose another folder")
    key, record = _key(job, model), job.folder / "synthesis.json"
    try:
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        if record.exists() and not overwrite:
            _refuse_another(key, json.loads(record.read_text())["key"], job.folder)
            return
        for path in [path for folder in folders for path in folder.iterdir()]:
            if not record.exists():
                raise OutputExistsError(f"{path} is there already; choose an empty folder")
            path.unlink() if path.is_file() else shutil.rmtree(path)
        (job.folder / "manifest.csv").unlink(missing_ok=True)
        beside = record.with_name(f".{record.name}.tmp")
        beside.write_text(json.dumps({"key": key, "model": model.recipe.name, "command": job.command}, indent=1))
        os.replace(beside, record)
    except OSError as error:
        raise OutputError(f"cannot write to {job.folder}: {error.strerror}") from error


def _refuse_another(key: Mapping[str, Any], found: Mapping[str, Any], folder: Path) -> None:
    differing = [name for name in {**key, **found} if found.get(name) != key.get(name)]
    if differing:
        name = next((name for name in ("masks", "model") if name in differing), differing[0])
        raise OptionError(
            f"{folder} holds images of another call, whose {name} is {found.get(name)}, not {key.get(name)}; "
            "give the same command to continue, --overwrite to begin anew, or choose another folder"
        )


def _made(
    model: Model, job: _Job, numbers: Sequence[int], workers: int | None, stop: Callable[[], str | None]
) -> Iterator[Line]:
    """Lines of the images as they are done, in this process or several."""
    if workers is None or workers < 2 or len(numbers) < workers:
        for number in numbers:
            if stop() is not None:
                return
            yield job.make(model, number, workers=workers)
        return
    context = fresh_context(__name__)
    asked = context.Event()
    given = model.to("cpu"), str(model.device), job, max(1, (os.cpu_count() or 1) // workers), asked
    pool = ProcessPoolExecutor(workers, context, initializer=_receive, initargs=given)
    waiting: set[Future[Line]] = set()
    queue = iter(numbers)
    try:
        while True:
            if stop() is not None:
                asked.set()
            free = 0 if asked.is_set() else workers - len(waiting)
            waiting |= {pool.submit(_make_one, number) for number in islice(queue, free)}
            if not waiting:
                return
            done, waiting = wait(waiting, timeout=TURN, return_when=FIRST_COMPLETED)
            yield from (each.result() for each in done)
    except BrokenProcessPool as error:
        raise OutputError("a process was killed, maybe for want of memory; the same command continues") from error
    finally:
        pool.shutdown(cancel_futures=True)


_here: dict[str, Any] = {}


def _receive(model: Model, device: str, job: _Job, threads: int, asked: Event) -> None:
    import torch

    # signals count while an image is made, which then stops between two tiles, and at no other time
    numbers = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
    threading.Thread(target=_stop_when, args=(asked,), daemon=True).start()
    torch.set_num_threads(threads)
    _here.update(model=model.to(device), job=job)


def _stop_when(asked: Event) -> None:
    asked.wait()
    while True:
        signal.raise_signal(signal.SIGTERM)
        time.sleep(TURN)


def _make_one(number: int) -> Line:
    return _here["job"].make(_here["model"], number)
