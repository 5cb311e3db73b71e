"""Random windows straight from rasters: sample number n of step k is a pure function of (seed, k, n)."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from sciddiff import io
from sciddiff.errors import InputError
from sciddiff.io.align import aligned
from sciddiff.model.fit import is_stack
from sciddiff.recipe.schema import Recipe, Source
from sciddiff.tasks import Task

TRIES = 200
"""Windows looked at before a source counts as having none without invalid pixels."""
IN_MEMORY = 2**26
"""Values of an image up to which it is read once and kept."""
PLANES = 128
"""Planes of a stack from which windows are drawn."""
OPTIONAL_DROPOUT = 0.3
"""Share of the windows that lack an optional band although the scene has it."""


Place = dict[str, int | list[int]]
"""What is taken of a file's image: plane and channel."""


@dataclass(frozen=True)
class Scene:
    """One raster to learn from: its image with the recipe's bands that it has, and where those belong."""

    name: str
    image: xr.DataArray  # band y x, lazy where large
    present: tuple[int, ...]
    guide: xr.DataArray | None  # on the image's grid, lazy where large
    mix: NDArray[np.float64]  # from the guide's bands to those that the task wants
    coarsen: tuple[int, ...]
    weight: float
    scale: float
    offset: float | list[float]  # one, or one for each of the recipe's bands


def open_scenes(recipe: Recipe, task: Task, sources: Sequence[Source]) -> list[Scene]:
    """Open every raster of the sources; small ones are read, large ones only where windows are drawn.

    Raises
    ------
    InputError
        Where a raster lacks a band or is smaller than a training window.
    """
    scenes = []
    for source in sources:
        files = source.files()
        for path in files:
            images = _images(recipe, source, task, str(path))
            weight = source.weight / len(files) / len(images)
            scenes += [
                _open_scene(recipe, source, *found, path=str(path), weight=weight, task=task) for found in images
            ]
    return scenes


def _images(recipe: Recipe, source: Source, task: Task, path: str) -> list[tuple[xr.DataArray, tuple[int, ...], Place]]:
    """The images of a file, which of the recipe's bands they have, and their places in the file.

    Of a stack those of evenly spread planes; where each channel is restored for itself, those of each.
    """
    present = tuple(range(len(recipe.bands)))
    if source.bands is not None:
        present = tuple(index for index, band in enumerate(source.bands) if band is not None)
        image = io.open(path, bands=named(source))
    else:
        image = io.open(path)
        if not task.channelwise:
            names = [str(name) for name in image.band.values]
            image = image.isel(band=io.match_bands(recipe.bands, names, sensor=recipe.task.sensor))
    sizes = image.sizes
    places: list[Place] = [{}]
    if is_stack(image):
        places = [{"t": t, "z": z} for t in range(sizes["t"]) for z in range(sizes["z"])]
        places = places[:: -(-len(places) // PLANES)]
    if task.channelwise:
        places = [{**place, "band": [at]} for place in places for at in range(sizes["band"])]
    return [(image.isel(place), present, place) for place in places]


def _open_scene(
    recipe: Recipe,
    source: Source,
    image: xr.DataArray,
    present: tuple[int, ...],
    place: Place,
    *,
    path: str,
    weight: float,
    task: Task,
) -> Scene:
    noisy = source.noisy_file()
    if (noisy is not None or source.noisy_only) and not task.takes_noisy:
        raise InputError(
            f"{path}: the task {recipe.task.kind} learns from clean images; leave noisy and noisy_only out"
        )
    wanted = task.scene_bands[len(recipe.bands) :]
    guide = _open_guide(source, path, wanted, recipe.task.sensor)
    mix = _mix(source, wanted)
    if len(mix) != len(wanted) or (guide is not None and len(guide) != mix.shape[1]):
        raise InputError(f"{path}: the task needs a guide of {len(wanted)} bands: {', '.join(wanted)}")
    if source.window is not None:
        row0, col0, row1, col1 = source.window
        image = image.isel(y=slice(row0, row1), x=slice(col0, col1))
        guide = None if guide is None else guide.isel(y=slice(row0, row1), x=slice(col0, col1))
    fitting = tuple(f for f in source.coarsen if min(image.shape[1:]) >= f * recipe.training.patch)
    if not fitting:
        raise InputError(
            f"{path}: {image.shape[1]} x {image.shape[2]} pixels are fewer than a training window of "
            f"{recipe.training.patch}; take a larger raster or a smaller training.patch"
        )
    for each in (image, guide):
        if each is not None and each.size <= IN_MEMORY:
            each.load()
    scene = Scene(path, image, present, guide, mix, fitting, weight, source.scale, source.offset)
    return _measured(scene, source, noisy, fitting, place) if task.takes_noisy else scene


def _measured(scene: Scene, source: Source, noisy: Path | None, fitting: tuple[int, ...], place: Place) -> Scene:
    """A scene in levels, or what was measured of it in electrons, after its bands: alone or beside its reference."""
    from sciddiff.training import levels

    if fitting != (1,) and (source.noisy_only or noisy is not None):
        raise InputError(f"{scene.name}: coarsen is {list(fitting)}, but averaged noise has another law; leave it out")
    scene = replace(scene, scale=1.0, offset=0.0)
    count = len(scene.present)
    if source.noisy_only:
        counts, _ = levels.electrons(scene.image)
        return replace(scene, image=counts, present=tuple(band + count for band in scene.present))
    if noisy is None:
        return replace(scene, image=levels.clean_levels(scene.image))
    low = io.open(str(noisy), bands=named(source)).isel(place)
    if source.window is not None:
        row0, col0, row1, col1 = source.window
        low = low.isel(y=slice(row0, row1), x=slice(col0, col1))
    image, guide = levels.paired(scene.image, low, name=scene.name)
    return replace(scene, image=image, guide=guide, mix=np.eye(count))


def channels(task: Task) -> int:
    """Of a window: those of a scene, and of what was measured of it."""
    return len(task.scene_bands) + len(task.bands) * task.takes_noisy


def keeps_levels(task: Task) -> bool:
    """Whether windows keep the values of their scene, rather than have mean zero and spread one."""
    return task.absolute or task.takes_noisy


def named(source: Source) -> list[str | int] | None:
    """The bands of a source's files, as it names them; None: all."""
    return None if source.bands is None else [band for band in source.bands if band is not None]


def _mix(source: Source, wanted: Sequence[str]) -> NDArray[np.float64]:
    """(wanted, given) bands of the guide."""
    if source.guide is None:
        return np.eye(len(wanted))
    if source.guide.weights is not None:
        return np.array([source.guide.weights])
    return np.eye(len(source.guide.bands))


def _open_guide(source: Source, path: str, wanted: Sequence[str], sensor: str) -> xr.DataArray | None:
    """The further bands of a scene; of a source that names none those of its own that have their names."""
    if not wanted:
        return None
    if source.guide is None:
        image = io.open(path)
        names = [str(name) for name in image.band.values]
        return image.isel(band=io.match_bands(list(wanted), names, sensor=sensor))
    file = source.guide_file()
    if file is None:
        return io.open(path, bands=source.guide.bands)
    return aligned(io.open(file, bands=source.guide.bands), io.grid_of(io.open(path)), resampling="average")


def read_scene(
    scene: Scene, rows: slice, cols: slice, *, bands: int, absolute: bool
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """A window of a clean scene with `bands` channels, and its validity (h, w); absent bands are zero.

    Where only contrast counts (not `absolute`) each band has mean zero and spread one over its valid pixels.
    """
    values, valid = io.read_window(scene.image, rows, cols)
    places = list(scene.present)
    if scene.guide is not None:
        more, known = io.read_window(scene.guide, rows, cols)
        places += range(bands - len(scene.mix), bands)
        more = np.einsum("ij,jhw->ihw", scene.mix, more)
        values, valid = np.concatenate([values, more]), np.concatenate([valid, known])
    seen = np.asarray(valid.all(0))
    window = np.zeros((bands, *seen.shape), np.float32)
    window[places] = np.where(seen, scaled(values, seen, scene=scene, absolute=absolute), 0)
    return window, seen


def scaled(
    values: NDArray[np.floating], seen: NDArray[np.bool_], *, scene: Scene, absolute: bool
) -> NDArray[np.floating]:
    """Physical values, or each band with mean zero and spread one."""
    if absolute:
        if isinstance(scene.offset, float):
            return scene.scale * values + scene.offset
        return scene.scale * values + np.array([[[scene.offset[at]]] for at in scene.present], np.float32)
    if not seen.any():
        return values
    inside = values[:, seen].astype(np.float64)
    mean, spread = inside.mean(1)[:, None, None], inside.std(1)[:, None, None]
    result: NDArray[np.floating] = (values - mean) / np.where(spread > 0, spread, 1)
    return result


def _read(scene: Scene, *, task: Task, row: int, col: int, side: int, factor: int) -> NDArray[np.float32] | None:
    """Window of side x side pixels after averaging blocks of `factor`; None where a pixel is invalid."""
    rows, cols = slice(row, row + side * factor), slice(col, col + side * factor)
    window, seen = read_scene(scene, rows, cols, bands=channels(task), absolute=True)
    if not seen.all():
        return None
    blocks = window.reshape(len(window), side, factor, side, factor).mean((2, 4), dtype=np.float64)
    if not keeps_levels(task):
        spread = blocks.std((1, 2), keepdims=True)
        blocks = (blocks - blocks.mean((1, 2), keepdims=True)) / np.where(spread > 0, spread, 1)
    return blocks.astype(np.float32)


def draw_patch(scenes: Sequence[Scene], recipe: Recipe, task: Task, *, rng: np.random.Generator) -> NDArray[np.float32]:
    """One random window (scene bands, patch, patch), turned and mirrored; see `read_scene`."""
    side = recipe.training.patch
    weights = np.array([scene.weight for scene in scenes])
    scene = scenes[rng.choice(len(scenes), p=weights / weights.sum())]
    for _ in range(TRIES):
        factor = int(rng.choice(scene.coarsen))
        height, width = scene.image.shape[1:]
        row = int(rng.integers(height - side * factor + 1))
        col = int(rng.integers(width - side * factor + 1))
        patch = _read(scene, task=task, row=row, col=col, side=side, factor=factor)
        if patch is not None:
            lacking = [band in recipe.optional_bands and rng.random() < OPTIONAL_DROPOUT for band in recipe.bands]
            patch[: len(lacking)][lacking] = 0
            patch = np.rot90(patch, int(rng.integers(4)), (1, 2))
            return patch[:, ::-1] if rng.random() < 0.5 else patch
    raise InputError(f"{scene.name}: no window of {side} x {side} pixels without invalid ones in {TRIES} tries")


def draw_batch(scenes: Sequence[Scene], recipe: Recipe, task: Task, *, step: int, rank: int = 0) -> NDArray[np.float32]:
    """The batch of a step, (batch, scene bands, patch, patch): the same whenever and wherever it is drawn."""
    training = recipe.training
    patches = [
        draw_patch(scenes, recipe, task, rng=np.random.default_rng([recipe.seed, step, rank, n]))
        for n in range(training.batch)
    ]
    return np.stack(patches)


class Prefetched:
    """Batches drawn one step ahead in a thread, so that reading overlaps with computing."""

    def __init__(self, scenes: Sequence[Scene], recipe: Recipe, task: Task):
        self.scenes, self.recipe, self.task = scenes, recipe, task
        self._pool = ThreadPoolExecutor(1)
        self._ahead: dict[int, Future[NDArray[np.float32]]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def batch(self, step: int) -> NDArray[np.float32]:
        """The batch of `step`; starts drawing that of the next."""
        draw = self._ahead.pop(step, None) or self._submit(step)
        self._ahead = {step + 1: self._submit(step + 1)}
        return draw.result()

    def _submit(self, step: int) -> Future[NDArray[np.float32]]:
        return self._pool.submit(draw_batch, self.scenes, self.recipe, self.task, step=step)
