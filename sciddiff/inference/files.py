"""Predict a raster: plan, predict and assemble, in one process or many, continuing what was begun."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from sciddiff.errors import InputError, OptionError, SciddiffError
from sciddiff.inference.assemble import DamagedStore, assemble_run
from sciddiff.inference.cluster import run_dask
from sciddiff.inference.compute import compute_cores
from sciddiff.inference.detect import announced, forget, with_masks
from sciddiff.inference.key import Inputs, asked
from sciddiff.inference.outputs import outputs_of
from sciddiff.inference.plan import Plan, make_plan, run_folder
from sciddiff.inference.publish import end_published, refuse_existing
from sciddiff.inference.runs import locked, open_store, prepare, remove
from sciddiff.inference.shards import cores_of
from sciddiff.inference.store import Store
from sciddiff.inference.workers import run_workers
from sciddiff.io.scene import files_of
from sciddiff.io.target import kind_of
from sciddiff.model import Model
from sciddiff.model.fit import Fitted
from sciddiff.model.request import Guidance
from sciddiff.model.result import Stored
from sciddiff.stopping import stop_signals
from sciddiff.tasks import Instrument

Progress = Callable[[int, int], None]

log = logging.getLogger("sciddiff")


def plan_file(
    model: Model,
    source: str,
    output: Path,
    *,
    steps: int | None = None,
    samples: int = 1,
    seed: int = 0,
    inputs: Inputs | None = None,
    uncertainty: Path | None = None,
    extras: Mapping[str, Path] | None = None,
    tile: int | None = None,
    batch: int = 1,
    instrument: Instrument | None = None,
    guidance: Guidance | None = None,
    strength: float = 1.0,
    max_pixels: int | None = None,
) -> Plan:
    """What `predict_file` would do; see there. Masks that a detector would find are named, not made."""
    request = model.request(
        steps=steps, samples=samples, seed=seed, instrument=instrument, guidance=guidance, strength=strength
    )
    plan, _ = make_plan(
        model,
        source,
        output,
        request=request,
        inputs=inputs,
        uncertainty=uncertainty,
        extras=extras,
        tile=tile,
        batch=batch,
        max_pixels=max_pixels,
    )
    return replace(plan, inputs={**plan.inputs, **announced(model, source, inputs or {})})


def predict_file(
    model: Model,
    source: str,
    output: Path,
    *,
    steps: int | None = None,
    samples: int = 1,
    seed: int = 0,
    inputs: Inputs | None = None,
    uncertainty: Path | None = None,
    extras: Mapping[str, Path] | None = None,
    tile: int | None = None,
    batch: int = 1,
    instrument: Instrument | None = None,
    guidance: Guidance | None = None,
    strength: float = 1.0,
    stored: Stored | None = None,
    workers: int | None = None,
    shard: tuple[int, int] | None = None,
    dask: str | None = None,
    max_pixels: int | None = None,
    overwrite: bool = False,
    creation_options: Mapping[str, str] | None = None,
    command: str = "",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Restore a raster of any size, or continue where the same call stopped.

    Parameters
    ----------
    model
        The model.
    source
        Anything that `sciddiff.open` opens.
    output
        The product: the posterior mean, or one sample where `steps` is 2 or more and `samples` 1. Its suffix says the
        format: .tif (cloud-optimised GeoTIFF), .ome.tif, .zarr or .ome.zarr.
    steps, samples, seed
        See `Model.predict`.
    inputs
        The task's other inputs: paths by name. Where the task names a detector and no `mask` is given, the detector
        looks for clouds and shadows first, in the image and in each `date`.
    uncertainty
        Spread and 90 % interval of each band; needs 2 samples or more.
    extras
        Where the task's further maps go, by name.
    tile, batch
        Side of the cores in target pixels, windows at once.
    instrument, guidance, strength
        See `Model.predict`.
    stored
        How a result that is another quantity than the image is stored; float32 where not given.
    workers
        Processes on this machine, or of a Dask cluster that is started here.
    shard
        (i, n): compute the i-th of n parts and leave the joining to `assemble_file`.
    dask
        Address of a Dask scheduler, `local` or `slurm`.
    max_pixels
        Most pixels that the output may have; `plan.MAX_PIXELS` where not given.
    overwrite
        Whether files that are there may be replaced, and another unfinished run for this output.
    creation_options
        For the output's driver.
    command
        For the provenance.
    progress
        Called with (tiles done, tiles) after each batch.

    Returns
    -------
    dict
        Paths of what was written, and the plan; with `shard`, how far the run is.

    Raises
    ------
    InputError
        Where the raster does not fit the model.
    OutputExistsError
        Where an output is there and `overwrite` is not set.
    OptionError
        Where options contradict each other, or an unfinished run of another kind is there.
    OutputError
        Where another process works on the same output, or it cannot be written.
    InterruptedRun
        After SIGINT, SIGTERM, SIGUSR1 or SIGUSR2; the same call continues.
    """
    if shard is not None and (workers is not None or dask is not None):
        raise OptionError("--shard says what this process computes; it goes with neither --workers nor --dask")
    written = {"output": str(output)} | ({"uncertainty": str(uncertainty)} if uncertainty else {})
    written |= {name: str(path) for name, path in (extras or {}).items()}
    folder = run_folder(output)
    request = model.request(
        steps=steps, samples=samples, seed=seed, instrument=instrument, guidance=guidance, strength=strength
    )
    outputs = outputs_of(model, output, uncertainty, extras or {}, request=request)
    now = partial(asked, model, source, inputs or {}, request=request, outputs=outputs)
    if end_published(folder, now, overwrite=overwrite):
        log.info("the outputs were whole already; the run is removed")
        return written
    sources = [source, *(path for paths in (inputs or {}).values() for path in paths)]
    for path in (output, uncertainty, *(extras or {}).values()):
        if path is not None:
            kind_of(path)  # a folder is no output that --overwrite might replace
            refuse_existing(path, overwrite=overwrite)
            for each in sources:
                _refuse_input(path, each)
    inputs = with_masks(model, source, inputs or {}, folder, find=partial(_find, batch=batch, workers=workers))
    try:
        plan, fitted = make_plan(
            model,
            source,
            output,
            request=request,
            inputs=inputs,
            uncertainty=uncertainty,
            extras=extras,
            tile=tile,
            batch=batch,
            max_pixels=max_pixels,
            creation_options=creation_options,
            command=command,
            stored=stored,
        )
    except SciddiffError:
        forget(folder)
        raise
    store = prepare(plan, overwrite=overwrite)
    run = _Run(model, fitted, store, batch=batch, workers=workers, dask=dask, progress=progress)
    with stop_signals() as stop:
        if shard is not None:
            return _shard(run, shard, stop=stop)
        with locked(store.folder, alone=True), _leaving_no_empty_run(store):
            run.compute(range(plan.layout.count), stop=stop)
            try:
                assemble_run(store, overwrite=overwrite, stop=stop)
            except DamagedStore as error:
                log.warning("%s", error)
                run.compute(range(plan.layout.count), stop=stop)
                assemble_run(store, overwrite=overwrite, stop=stop)
    return written | {"plan": plan.summary()}


def _find(detector: Model, image: str, probabilities: Path, mask: Path, *, batch: int, workers: int | None) -> None:
    """Run a detector on an image."""
    predict_file(detector, image, probabilities, extras={"mask": mask}, batch=batch, workers=workers, overwrite=True)


def assemble_file(output: Path, *, overwrite: bool = False) -> dict[str, Any]:
    """Join what the shards of a run wrote.

    Parameters
    ----------
    output
        That the shards were given.
    overwrite
        Whether files that are there may be replaced.

    Returns
    -------
    dict
        Paths of what was written.

    Raises
    ------
    OptionError
        No run is there.
    OutputError
        Cores are missing or damaged, a shard is still at work, or the output cannot be written.
    """
    folder = run_folder(output)
    if ended := end_published(folder, None, overwrite=overwrite):
        return ended
    store = open_store(folder)
    with locked(folder, alone=True), stop_signals() as stop:
        assemble_run(store, overwrite=overwrite, stop=stop)
    return {item.name: str(item.path) for item in store.plan.products}


@contextmanager
def _leaving_no_empty_run(store: Store) -> Iterator[None]:
    """Remove a run that failed before its first core."""
    try:
        yield
    except SciddiffError:
        if store.folder.exists() and not store.done():
            remove(store.folder)
        raise


class _Run:
    """How the cores of a run are computed."""

    def __init__(
        self,
        model: Model,
        fitted: Fitted,
        store: Store,
        *,
        batch: int,
        workers: int | None,
        dask: str | None,
        progress: Progress | None,
    ) -> None:
        self.model, self.fitted, self.store, self.batch = model, fitted, store, batch
        self.workers, self.dask, self.progress = workers, dask, progress

    def compute(self, numbers: Sequence[int], *, stop: Callable[[], str | None]) -> None:
        """Compute those of the cores that are not done."""
        done = self.store.done()
        left = [number for number in numbers if number not in done]
        if len(left) < len(numbers):
            log.info("%d of %d tiles are there already", len(numbers) - len(left), len(numbers))
        finished = len(numbers) - len(left)

        def count(more: int) -> None:
            nonlocal finished
            finished += more
            if self.progress is not None:
                self.progress(finished, len(numbers))

        try:
            self._launch(left, stop=stop, count=count)
        finally:
            self.store.close()

    def _launch(self, left: list[int], *, stop: Callable[[], str | None], count: Callable[[int], None]) -> None:
        model, store, batch = self.model, self.store, self.batch
        if not left:
            return
        if self.dask is not None:
            run_dask(
                self.dask,
                model,
                store.folder,
                left,
                workers=self.workers,
                batch=batch,
                stop=stop,
                progress=count,
            )
        elif self.workers is not None and self.workers > 1:
            workers = min(self.workers, len(left))
            run_workers(model, store.folder, left, workers=workers, batch=batch, stop=stop, progress=count)
        else:
            compute_cores(model, self.fitted, store, left, batch=batch, stop=stop, progress=count)


def _shard(run: _Run, shard: tuple[int, int], *, stop: Callable[[], str | None]) -> dict[str, Any]:
    number, count = shard
    store = run.store
    numbers = cores_of(shard, store.plan.layout.count)
    mine = f"shard-{number}-of-{count}"
    with locked(store.folder, alone=False), locked(store.folder, alone=True, name=mine):
        run.compute(numbers, stop=stop)
        done = len(store.done())
    output = store.plan.products[0].path
    return {
        "shard": f"{number}/{count}",
        "tiles": len(numbers),
        "run": str(store.folder),
        "run_done": done,
        "run_tiles": store.plan.layout.count,
        "next": f"sciddiff assemble {output}",
    }


def _refuse_input(path: Path, source: str) -> None:
    try:
        files = files_of(source)
        same = any(path.samefile(file) for file in files)
    except (OSError, InputError):
        return
    if same or (path.is_dir() and any(path.resolve() in file.resolve().parents for file in files)):
        raise OptionError(f"{path} is the input itself; choose another output")
