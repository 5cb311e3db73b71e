"""New labelled images: masks given or made, an image for each, a line in a manifest; continued where it stopped."""

import json
import logging
import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from sciddiff import io
from sciddiff.errors import InterruptedRun, OptionError, OutputError, OutputExistsError
from sciddiff.inference.files import predict_file
from sciddiff.inference.layouts import Layouts, Made, write_mask
from sciddiff.inference.manifest import Line, Manifest
from sciddiff.inference.plan import fingerprint, model_hash
from sciddiff.inference.wish import Wish, steps_of, task_of, told
from sciddiff.model import Model
from sciddiff.model.fit import Stored
from sciddiff.stopping import stop_signals

log = logging.getLogger("sciddiff")


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
    job = _Job(folder, wish, layouts, instrument, stored, steps_of(model, wish), tile=tile, command=command)
    _begin(job, model, overwrite=overwrite)
    manifest = Manifest(folder / "manifest.csv")
    left = [number for number in range(count) if not manifest.has(layouts.name(number))]
    progress(count - len(left), count)
    with stop_signals() as stop:
        for done, line in enumerate(_made(model, job, left, workers, stop), start=count - len(left) + 1):
            manifest.add(line)
            progress(done, count)
        if stop() is not None and len(manifest) < count:
            raise InterruptedRun(f"stopped at image {len(manifest)} of {count}; the same command continues")
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
        inputs = {key: [path] for key, path in (("image", wish.image), ("region", wish.region)) if path is not None}
        if not image.exists():
            predict_file(
                model,
                str(labels),
                image,
                steps=self.steps,
                seed=wish.seed + number,
                inputs=inputs,
                instrument=self.instrument,
                guidance=wish.guidance,
                strength=wish.strength,
                stored=self.stored,
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


def _suffix(mask: str | Made) -> str:
    return ".ome.tif" if isinstance(mask, str) and "stack" in io.open(mask).encoding else ".tif"


def _begin(job: _Job, model: Model, *, overwrite: bool) -> None:
    """Make the folders, or see that they are of the same call.

    Raises
    ------
    OptionError
        They are of another one.
    OutputError
        They cannot be made.
    """
    wish = job.wish
    paths = [*wish.masks, *(path for path in (wish.style, wish.image, wish.region, wish.guidance.weaker) if path)]
    asked = {key: value for key, value in asdict(wish).items() if key != "count"}  # more may be asked for later
    key = json.loads(json.dumps({"model": model_hash(model), "files": [fingerprint(path) for path in paths], **asked}))
    record = job.folder / "synthesis.json"
    try:
        for name in ("images", "labels"):
            (job.folder / name).mkdir(parents=True, exist_ok=True)
        if record.exists() and not overwrite:
            found = json.loads(record.read_text())["key"]
            differing = [name for name in key if found.get(name) != key[name]]
            if differing:
                raise OptionError(
                    f"{job.folder} holds images of another call, whose {differing[0]} is {found.get(differing[0])}; "
                    "give the same command to continue, --overwrite to begin anew, or choose another folder"
                )
            return
        for name in ("images", "labels"):
            for path in (job.folder / name).iterdir():
                if not overwrite:
                    raise OutputExistsError(f"{path} is there already; choose an empty folder or pass --overwrite")
                path.unlink() if path.is_file() else None
        (job.folder / "manifest.csv").unlink(missing_ok=True)
        record.write_text(json.dumps({"key": key, "model": model.recipe.name, "command": job.command}, indent=1))
    except OSError as error:
        raise OutputError(f"cannot write to {job.folder}: {error.strerror}") from error


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
    context = multiprocessing.get_context("spawn")
    threads = max(1, (os.cpu_count() or 1) // workers)
    with ProcessPoolExecutor(workers, context, initializer=_receive, initargs=(model.to("cpu"), job, threads)) as pool:
        waiting: set[Future[Line]] = set()
        queue = iter(numbers)
        while True:
            room = 2 * workers - len(waiting) if stop() is None else 0
            waiting |= {pool.submit(_make_one, number) for number in islice(queue, room)}
            if not waiting:
                return
            done, waiting = wait(waiting, timeout=1, return_when=FIRST_COMPLETED)
            yield from (each.result() for each in done)


_here: dict[str, Any] = {}


def _receive(model: Model, job: _Job, threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
    _here.update(model=model, job=job)


def _make_one(number: int) -> Line:
    return _here["job"].make(_here["model"], number)
