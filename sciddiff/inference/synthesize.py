"""New labelled images: masks given or made, an image for each, a line in a manifest; continued where it stopped."""

import json
import logging
import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sciddiff import io
from sciddiff.errors import InputError, InterruptedRun, OptionError, OutputError, OutputExistsError
from sciddiff.inference.files import predict_file
from sciddiff.inference.layouts import Layouts, write_mask
from sciddiff.inference.manifest import Line, Manifest
from sciddiff.inference.plan import fingerprint, model_hash
from sciddiff.model import Model
from sciddiff.model.fit import Stored
from sciddiff.model.tiles import Guidance
from sciddiff.recipe.files import find_rasters
from sciddiff.recipe.tasks import Synthesis
from sciddiff.stopping import stop_signals
from sciddiff.tasks.look import levels_of
from sciddiff.tasks.style import style_of

PLAIN = Stored("uint16", scale=1e-4, offset=-0.1)
"""Levels and reflectance as whole numbers, so that dark noise below zero is kept, too."""

log = logging.getLogger("sciddiff")


@dataclass(frozen=True)
class Wish:
    """What is asked of new images.

    Attributes
    ----------
    masks
        Files of masks, or empty.
    layout
        `given`: the masks as they are; `rearranged`: new ones from their objects; `procedural`: from no mask; `none`:
        nothing is asked of where things are; or the path of a model of label structure.
    count
        Images; as many as masks where not given.
    size
        Rows and columns of made masks; those of the first mask where not given.
    seed
        Image k has the seed `seed` + k.
    steps
        Network evaluations of an image; the recipe's where not given.
    image_class, numbers, style
        What is asked beside the mask: a class by its name, numbers by name, a reference image.
    guidance, strength
        See `model.tiles`.
    image, region
        An image that is to be changed, and where; everywhere where not given.
    """

    masks: tuple[str, ...] = ()
    layout: str = "given"
    count: int | None = None
    size: tuple[int, int] | None = None
    seed: int = 0
    steps: int | None = None
    image_class: str | None = None
    numbers: Mapping[str, float] = field(default_factory=dict)
    style: str | None = None
    guidance: Guidance = field(default_factory=Guidance)
    strength: float = 1.0
    image: str | None = None
    region: str | None = None


def find_masks(path: str) -> tuple[str, ...]:
    """The masks that a path names: a file, a folder or a pattern.

    Raises
    ------
    InputError
        None is there.
    """
    if os.path.exists(path) and not os.path.isdir(path):
        return (path,)
    try:
        return tuple(str(each) for each in find_rasters(path, Path()))
    except Exception as error:
        raise InputError(f"{path} holds no masks: {error}") from error


def number_of_class(model: Model, name: str) -> float:
    """The number under which a model knows a class of images.

    Raises
    ------
    OptionError
        It knows no such class.
    """
    known = settings_of(model).image_classes
    if name not in known:
        raise OptionError(f"{model.recipe.name} knows no class {name}; it knows {', '.join(known) or 'none'}")
    return float(known.index(name))


def settings_of(model: Model) -> Synthesis:
    """The settings of a model of synthesis.

    Raises
    ------
    OptionError
        It is of another task.
    """
    if not isinstance(model.recipe.task, Synthesis):
        raise OptionError(
            f"{model.recipe.name} is a model of the task {model.recipe.task.kind}; needs one of synthesis"
        )
    return model.recipe.task


def told(model: Model, wish: Wish) -> tuple[dict[str, tuple[float, ...]], Stored]:
    """What is asked of the images as the task takes it, and how they are stored: like the reference, if there is one.

    Raises
    ------
    OptionError
        The model does not know what is asked.
    InputError
        The reference is none.
    """
    settings = settings_of(model)
    instrument: dict[str, tuple[float, ...]] = {}
    if wish.image_class is not None:
        instrument["image_class"] = (number_of_class(model, wish.image_class),)
    for name, number in wish.numbers.items():
        if name not in settings.numbers:
            raise OptionError(f"{model.recipe.name} knows no number {name}; it knows {', '.join(settings.numbers)}")
        instrument[name] = (float(number),)
    if wish.layout == "none":
        instrument["mask"] = (0.0,)
    if wish.style is None:
        return instrument, PLAIN
    return _as_reference(model, wish.style, instrument)


def _as_reference(
    model: Model, path: str, instrument: dict[str, tuple[float, ...]]
) -> tuple[dict[str, tuple[float, ...]], Stored]:
    image = io.open(path)
    if "z" in image.dims:
        image = image.isel(t=0, z=0)
    bands = list(model.task.bands)
    if len(image.band) != len(bands):
        image = image.isel(band=io.match_bands(bands, [str(name) for name in image.band.values]))
    dark, bright = (0.0,) * len(bands), (1.0,) * len(bands)
    stored = PLAIN
    if model.task.levelled:
        dark, bright = levels_of(image)
        instrument |= {"dark": dark, "bright": bright}
        profile = image.encoding.get("stack") or image.encoding.get("raster")
        stored = Stored("float32" if profile is None else profile.dtype)
    if settings_of(model).style:
        low, span = (np.reshape(np.array(each), (-1, 1, 1)) for each in (dark, np.subtract(bright, dark)))
        instrument["style"] = style_of((image - low) / span, model.task.transformed)
    return instrument, stored


def generator_of(
    model: Model, wish: Wish, *, tile: int | None = None
) -> Callable[[NDArray[np.integer], int], NDArray[np.float32]]:
    """A function from labels (h, w), or (label bands, h, w), and a seed to an image (bands, h, w), in memory.

    Parameters
    ----------
    model
        Of synthesis.
    wish
        What is asked of all images; masks and layout are not looked at.
    tile
        See `Model.predict`.
    """
    instrument, _ = told(model, wish)

    def generate(labels: NDArray[np.integer], seed: int) -> NDArray[np.float32]:
        given = np.asarray(labels if labels.ndim == 3 else labels[None], np.float64)
        found = model.predict(
            given, steps=_steps(model, wish), seed=seed, instrument=instrument, guidance=wish.guidance, tile=tile
        )
        return np.asarray(found["sample"].values, np.float32)

    return generate


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
    layouts = Layouts(model, wish, settings_of(model))
    layouts.check(model)
    count = wish.count if wish.count is not None else max(len(wish.masks), 1)
    job = _Job(folder, wish, layouts, instrument, stored, _steps(model, wish), tile=tile, command=command)
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


def _suffix(mask: "str | Any") -> str:
    image = io.open(mask) if isinstance(mask, str) else mask
    return ".ome.tif" if "stack" in image.encoding else ".tif"


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
            while len(waiting) < 2 * workers and stop() is None and (number := next(queue, None)) is not None:
                waiting.add(pool.submit(_make_one, number))
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
