"""Random windows straight from rasters: sample number n of step k is a pure function of (seed, k, n)."""

import functools
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
from sciddiff.tasks.base import planes_beside
from sciddiff.training import levels
from sciddiff.training.labelled import facts_of, labelled

TRIES = 200
"""Windows looked at before a source counts as having none without invalid pixels."""
IN_MEMORY = 2**26
"""Values of an image up to which it is read once and kept."""
PLANES = 128
"""Planes of a stack from which windows are drawn."""
EXACT = 2**24
"""From here on float32 has no place for every number of an object: they begin again at one."""
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
    beside: tuple[xr.DataArray | None, ...] = ()  # further planes, as the file holds them
    beside_lines: levels.Lines = ()  # to the image's unit
    labels: int = 0  # last bands of the guide, whose values are names
    facts: tuple[float, ...] = ()  # numbers of the whole scene, after its bands
    gain_spread: float = 0.0


class Planes:
    """The image of a file, cut to a source's window, and its planes, each made once."""

    def __init__(self, whole: xr.DataArray, source: Source):
        self.whole = whole
        if source.window is not None:
            row0, col0, row1, col1 = source.window
            self.whole = whole.isel(y=slice(row0, row1), x=slice(col0, col1))
        self._made: dict[str, xr.DataArray] = {}

    @functools.cached_property
    def lines(self) -> levels.Lines:
        """Those to the levels of the whole."""
        return levels.file_lines(self.whole)

    def at(self, place: Place) -> xr.DataArray:
        """One of them, (band, y, x)."""
        place = {axis: at for axis, at in place.items() if axis in self.whole.dims}
        return self._made.setdefault(repr(place), self.whole.isel(place))

    def beside(self, place: Place, task: Task) -> tuple[xr.DataArray | None, ...]:
        """Those that the task sees beside one; none of an image, None beyond the ends of a stack."""
        if task.neighbours is None or not is_stack(self.whole):
            return ()
        along, reach = task.neighbours
        numbers = [int(place[along]) + step for step in range(-reach, reach + 1) if step]  # type: ignore[arg-type]
        inside = range(self.whole.sizes[along])
        return tuple(self.at({**place, along: number}) if number in inside else None for number in numbers)


@dataclass(frozen=True)
class _File:
    """A source's file, and those that belong to it."""

    path: str
    planes: Planes
    present: tuple[int, ...]
    guide: Planes | None
    noisy: Planes | None


def open_scenes(recipe: Recipe, task: Task, sources: Sequence[Source]) -> list[Scene]:
    """Open every raster of the sources; small ones are read, large ones only where windows are drawn.

    Raises
    ------
    InputError
        Where a raster lacks a band or is smaller than a training window, or a pair has nothing in common.
    """
    scenes = []
    for source in sources:
        files = source.files()
        for path in files:
            file = _open_file(recipe, source, task, str(path))
            places = _places(file.planes.whole, task)
            weight = source.weight / len(files) / len(places)
            opened = [_open_scene(recipe, source, file, place, weight=weight, task=task) for place in places]
            found = [scene for scene in opened if scene is not None]
            if not found:
                raise InputError(f"{path}: it shows nothing that its noisy image shows; a pair needs the same pixels")
            scenes += found
    return scenes


def _open_file(recipe: Recipe, source: Source, task: Task, path: str) -> _File:
    _refuse_senseless(recipe, source, task, path)
    present = tuple(range(len(recipe.bands)))
    if source.bands is not None:
        present = tuple(index for index, band in enumerate(source.bands) if band is not None)
        image = io.open(path, bands=named(source))
    else:
        image = io.open(path) if task.channelwise else _by_name(path, recipe.bands, recipe.task.sensor)
    guide = _open_guide(source, path, further(recipe, task), recipe.task.sensor)
    if task.labels:
        image, guide = labelled(source, Path(path), image, task, recipe.task)
    file = source.noisy_file()
    noisy = None if file is None else io.open(str(file), bands=source.noisy_bands or named(source))
    more = [None if each is None else Planes(each, source) for each in (guide, noisy)]
    return _File(path, Planes(image, source), present, *more)


def _refuse_senseless(recipe: Recipe, source: Source, task: Task, path: str) -> None:
    if (source.noisy is not None or source.noisy_only) and not task.takes_noisy:
        raise InputError(
            f"{path}: the task {recipe.task.kind} learns from clean images; leave noisy and noisy_only out"
        )
    if source.noisy_only and not task.counts_electrons:
        raise InputError(f"{path}: the task {recipe.task.kind} learns nothing of noise alone; leave noisy_only out")
    if source.gain_spread and not task.absolute:
        raise InputError(f"{path}: the task {recipe.task.kind} knows no reflectance; leave gain_spread out")
    if task.levelled and source.guide is not None and source.guide.weights is not None:
        raise InputError(f"{path}: guide.weights mix bands, but each has levels of its own; leave them out")


def _places(image: xr.DataArray, task: Task) -> list[Place]:
    """Evenly spread planes of a stack; where each channel is restored for itself, each channel's."""
    sizes = image.sizes
    places: list[Place] = [{}]
    if is_stack(image):
        places = [{"t": t, "z": z} for t in range(sizes["t"]) for z in range(sizes["z"])]
        places = places[:: -(-len(places) // PLANES)]
    if task.channelwise:
        places = [{**place, "band": [at]} for place in places for at in range(sizes["band"])]
    return places


def _open_scene(
    recipe: Recipe, source: Source, file: _File, place: Place, *, weight: float, task: Task
) -> Scene | None:
    plane = {axis: at for axis, at in place.items() if axis != "band"}
    image, guide = file.planes.at(place), None if file.guide is None else file.guide.at(plane)
    wanted = further(recipe, task)
    mix = np.eye(task.labels) if task.labels else _mix(source, wanted)
    if len(mix) != len(wanted) + task.labels or (guide is not None and len(guide) != mix.shape[1]):
        raise InputError(f"{file.path}: the task needs a guide of {len(wanted)} bands: {', '.join(wanted)}")
    fitting = tuple(f for f in source.coarsen if min(image.shape[1:]) >= f * recipe.training.patch)
    if not fitting:
        raise InputError(
            f"{file.path}: {image.shape[1]} x {image.shape[2]} pixels are fewer than a training window of "
            f"{recipe.training.patch}; take a larger raster or a smaller training.patch"
        )
    for each in (image, guide):
        if each is not None and each.size <= IN_MEMORY:
            each.load()
    scene = Scene(file.path, image, file.present, guide, mix, fitting, weight, source.scale, source.offset)
    scene = replace(scene, labels=task.labels, facts=facts_of(source, recipe), gain_spread=source.gain_spread)
    if task.levelled:
        return _levelled(scene, file)
    return _measured(scene, source, file, place, task) if task.takes_noisy else scene


def _levelled(scene: Scene, file: _File) -> Scene:
    """A scene whose bands are in levels of their files."""
    image = levels.mapped(scene.image, file.planes.lines)
    guide = scene.guide
    if guide is not None and file.guide is not None and not scene.labels:
        guide = levels.mapped(guide, file.guide.lines)
    return replace(scene, image=image, guide=guide, scale=1.0, offset=0.0)


def _measured(scene: Scene, source: Source, file: _File, place: Place, task: Task) -> Scene | None:
    """A scene in levels, or what was measured of it after its bands: alone or beside its reference.

    In electrons where the task counts them, else in levels of the reference. None where a pair has nothing in common.
    """
    paired = file.noisy is not None
    if scene.coarsen != (1,) and (source.noisy_only or (paired and task.counts_electrons)):
        raise InputError(
            f"{scene.name}: coarsen is {list(scene.coarsen)}, but averaged noise has another law; leave it out"
        )
    scene = replace(scene, scale=1.0, offset=0.0)
    count = len(scene.present)
    if file.noisy is None:
        lines = levels.electron_lines(scene.image) if source.noisy_only else levels.clean_lines(scene.image)
        beside = file.planes.beside(place, task)
        scene = replace(scene, image=levels.mapped(scene.image, lines), beside=beside, beside_lines=lines)
        moved = count + planes_beside(task.neighbours) if source.noisy_only else 0
        return replace(scene, present=tuple(band + moved for band in scene.present))
    seen = file.noisy.at(place)
    if seen.shape != scene.image.shape:
        raise InputError(
            f"{scene.name}: {scene.image.shape} pixels, its noisy image {seen.shape}; a pair needs the same pixels"
        )
    if task.counts_electrons:
        lines = levels.electron_lines(seen)
        fitted = levels.brought_onto(scene.image, levels.mapped(seen, lines))
        if fitted is None:
            return None
        image = fitted
    else:
        image = levels.mapped(scene.image, levels.clean_lines(scene.image))
        onto = levels.lines_onto(image, seen)
        if onto is None:
            return None
        lines = levels.inverse(onto)
    beside = file.noisy.beside(place, task)
    measured = levels.mapped(seen, lines)
    return replace(scene, image=image, guide=measured, mix=np.eye(count), beside=beside, beside_lines=lines)


def channels(task: Task) -> int:
    """Of a window: those of a scene, of the planes beside it, and of what was measured of it."""
    return len(task.scene_bands) + planes_beside(task.neighbours) + len(task.bands) * task.takes_noisy


def further(recipe: Recipe, task: Task) -> tuple[str, ...]:
    """Bands of a scene beside the recipe's that are images, too."""
    return task.scene_bands[len(recipe.bands) : len(task.scene_bands) - task.labels - len(task.facts)]


def keeps_levels(task: Task) -> bool:
    """Whether windows keep the values of their scene, rather than have mean zero and spread one."""
    return task.absolute or task.takes_noisy or task.levelled


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


def _by_name(path: str, wanted: Sequence[str], sensor: str) -> xr.DataArray:
    """The bands of a file that have these names."""
    image = io.open(path)
    try:
        return image.isel(band=io.match_bands(list(wanted), [str(name) for name in image.band.values], sensor=sensor))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _open_guide(source: Source, path: str, wanted: Sequence[str], sensor: str) -> xr.DataArray | None:
    """The further bands of a scene; of a source that names none those of its own that have their names."""
    if not wanted:
        return None
    if source.guide is None:
        return _by_name(path, wanted, sensor)
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
        if scene.labels:  # where nothing is labelled is background
            more, known = np.where(known, more, 0), np.ones_like(known)
            more = np.where(more < EXACT, more, 1 + more % (EXACT - 1))
        last = bands - len(scene.facts)
        places += range(last - len(scene.mix), last)
        more = np.einsum("ij,jhw->ihw", scene.mix, more)
        values, valid = np.concatenate([values, more]), np.concatenate([valid, known])
    for number, plane in enumerate(scene.beside, start=1):  # tasks that see planes beside one have one band
        if plane is not None:
            more, known = io.read_window(plane, rows, cols)
            places.append(number)
            values = np.concatenate([values, levels.along(more, scene.beside_lines)])
            valid = np.concatenate([valid, known])
    seen = np.asarray(valid.all(0))
    window = np.zeros((bands, *seen.shape), np.float32)
    named = values[len(values) - scene.labels :]
    values = scaled(values[: len(values) - scene.labels], seen, scene=scene, absolute=absolute)
    window[places] = np.where(seen, np.concatenate([values, named]), 0)
    if scene.facts:
        window[-len(scene.facts) :] = np.array(scene.facts)[:, None, None]
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
    if scene.labels:  # names have no mean: that of the middle pixel
        first, middle = -scene.labels - len(scene.facts), (factor - 1) // 2
        blocks[first:] = window[first:, middle::factor, middle::factor]
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
            if scene.gain_spread:
                patch[: len(lacking)] *= _gains(scene.gain_spread, len(lacking), rng)
            patch = np.rot90(patch, int(rng.integers(4)), (1, 2))
            return patch[:, ::-1] if rng.random() < 0.5 else patch
    raise InputError(f"{scene.name}: no window of {side} x {side} pixels without invalid ones in {TRIES} tries")


def _gains(spread: float, bands: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """One a band, (bands, 1, 1): what all have in common, and half as much of each one's own, log-normal."""
    common, own = rng.standard_normal(), rng.standard_normal((bands, 1, 1))
    return np.exp(spread * (common + own / 2)).astype(np.float32)


def draw_batch(
    scenes: Sequence[Scene], recipe: Recipe, task: Task, *, step: int, rank: int = 0, count: int | None = None
) -> NDArray[np.float32]:
    """The batch of a step, or its first `count`, (batch, scene bands, patch, patch): the same wherever it is drawn."""
    patches = [
        draw_patch(scenes, recipe, task, rng=np.random.default_rng([recipe.seed, step, rank, n]))
        for n in range(recipe.training.batch if count is None else count)
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
