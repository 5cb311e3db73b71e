"""How the target grid of an image or a stack is cut into cores, and what is known of the whole before the first one."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from sciddiff import io
from sciddiff.errors import InputError
from sciddiff.model.engine import Restorer
from sciddiff.model.fit import Fitted, is_stack, planes_of
from sciddiff.model.windows import Window, lattice, round_up, span, tile_side, unit_of

TOLERANCE = 1e-3
"""Change of a pixel that a narrower halo may cause, in spreads of the residual."""
UNLIKE = 0.01
"""Share of a tolerance that a generative model's table may use: other masks, and the way back from asinh, which makes
errors in bright places up to twenty times larger."""
LOOK, LOOKS, PLANES = 256, 64, 16
"""Side and number of the windows, and number of a stack's planes, from which the global statistics come."""
BEYOND = 16
"""Planes by which sections reach beyond the ends of a stack, where their halo would reach further: most stacks are
thinner than a halo."""
DEEP_TILE = 192
"""Largest side of a core of several planes, along depth as across."""


@dataclass(frozen=True)
class Layout:
    """How the target grid is cut: the same numbers give the same pixels in any process.

    The planes of a stack are frames, numbered time by time and plane by plane; each is cut alike.
    """

    shape: tuple[int, int]
    ratio: int
    tile: int
    halo: int
    halo_from: str
    fallback: Mapping[str, tuple[float, ...]]
    """Global mean of each band of each input, for pixels that have no valid one near."""
    offset: tuple[float, float] = (0.0, 0.0)
    """See `Fitted.offset`."""
    frames: tuple[int, int] | None = None
    """Times and planes of a stack's result; None for an image."""
    deep: int | None = None
    """Planes of a core, where planes are restored together; None: each for itself."""
    halo_deep: int = 0
    """Planes of context above and below a core."""
    ends: tuple[int, int] = (0, 0)
    """First plane that sections may hold, and the one after the last: a little beyond the stack, the same for every
    core."""

    @property
    def begins(self) -> tuple[int, int]:
        """The pixel (row, column) of the main image that the first target window begins in, its halo aside."""
        return math.floor(self.offset[0] / self.ratio + 0.5), math.floor(self.offset[1] / self.ratio + 0.5)

    @property
    def phase(self) -> tuple[float, float]:
        """Target pixels by which the target grid begins after that pixel's corner, from -ratio / 2 to ratio / 2."""
        return tuple(o - b * self.ratio for o, b in zip(self.offset, self.begins, strict=True))  # type: ignore[return-value]

    @property
    def windows(self) -> list[Window]:
        """All cores, frame by frame and row by row."""
        return [self.window(number) for number in range(self.count)]

    @property
    def across(self) -> tuple[int, int]:
        """Cores along the rows and along the columns axis."""
        return -(-self.shape[0] // self.tile), -(-self.shape[1] // self.tile)

    @property
    def count(self) -> int:
        """Number of cores."""
        times, planes = self.frames or (1, 1)
        return times * -(-planes // (self.deep or 1)) * math.prod(self.across)

    def window(self, number: int) -> Window:
        """One of the cores."""
        layers, place = divmod(number, math.prod(self.across))
        row, col = (index * self.tile for index in divmod(place, self.across[1]))
        planes, deep = (self.frames or (1, 1))[1], self.deep or 1
        t, layer = divmod(layers, -(-planes // deep))
        return Window(
            row,
            col,
            min(self.tile, self.shape[0] - row),
            min(self.tile, self.shape[1] - col),
            frame=t * planes + layer * deep,
            depth=min(deep, planes - layer * deep),
        )

    def reach_in_depth(self, window: Window) -> tuple[int, int]:
        """First plane of the result that a core's sections hold, and the one after the last, within its time."""
        z = window.frame % (self.frames or (1, 1))[1]
        first, last = self.ends
        return max(z - self.halo_deep, first), min(z + (self.deep or 1) + self.halo_deep, last)

    def place(self, window: Window) -> tuple[int | slice, ...]:
        """Where a core lies in the result: rows and columns, before them time and planes where it is a stack."""
        if self.frames is None:
            return span(window)
        t, z = divmod(window.frame, self.frames[1])
        return t, z if self.deep is None else slice(z, z + window.depth), *span(window)


def choose_halo(model: Restorer, tolerance: float | None) -> tuple[int, str]:
    """The narrowest halo measured to keep within `tolerance`, or the full radius; and where it came from."""
    table = {int(halo): error for halo, error in model.record.get("halo", {}).items()}
    if tolerance is not None:
        tolerance *= UNLIKE if model.task.generative else 1
        for halo in sorted(table):
            if all(error <= tolerance for other, error in table.items() if other >= halo):
                wide = halo + model.task.reach
                wide = wide if model.task.generative else min(wide, model.radius)  # many steps look farther than one
                return wide, f"measured for {tolerance:.2g} of the residual's spread"
    return model.radius, "full radius"


def looks(shape: tuple[int, int]) -> list[Window]:
    """Evenly spread windows from which the global statistics come."""
    windows = lattice(shape, LOOK)
    return windows[:: max(1, len(windows) // LOOKS)]


def mean_of(parts: Iterable[tuple[NDArray[np.floating], NDArray[np.bool_]]]) -> tuple[float, ...] | None:
    """Mean of each band's valid pixels over windows of values and validity; None where none is valid."""
    total, count = np.zeros(1), np.zeros(1)
    for values, valid in parts:
        total = total + np.where(valid, values, 0).sum((1, 2), dtype=np.float64)
        count = count + valid.sum((1, 2))
    return tuple(float(mean) for mean in total / np.maximum(count, 1)) if count.any() else None


def global_mean(image: xr.DataArray) -> tuple[float, ...]:
    """Mean of each band's valid pixels over evenly spread windows; zeros where those hold none.

    It stands in where an invalid pixel has no valid one near, and nothing else.

    Raises
    ------
    InputError
        Where no pixel is valid.
    """
    mean = mean_of(map(_read, looked_at(image)))
    if mean is None and not any(_read(part)[1].any() for plane in planes_of(image) for part in _parts(plane)):
        raise InputError("all pixels are invalid: nothing to predict")
    return mean or (0.0,) * len(image)


def looked_at(image: xr.DataArray) -> Iterator[xr.DataArray]:
    """The parts, (band, y, x), of an image or of evenly spread planes of a stack that tell its global mean."""
    count = image.sizes["t"] * image.sizes["z"] if is_stack(image) else 1
    spread = range(0, count, max(1, count // PLANES))
    for number in spread:
        plane = image.isel(dict(zip("tz", divmod(number, image.sizes["z"])))) if is_stack(image) else image
        for window in looks((image.sizes["y"], image.sizes["x"]))[:: max(1, len(spread) // 4)]:
            yield _part(plane, window)


def _parts(plane: xr.DataArray) -> Iterator[xr.DataArray]:
    for window in lattice((plane.sizes["y"], plane.sizes["x"]), LOOK):
        yield _part(plane, window)


def _part(plane: xr.DataArray, window: Window) -> xr.DataArray:
    return plane.isel(dict(zip("yx", span(window), strict=True)))


def _read(part: xr.DataArray) -> tuple[NDArray[np.floating], NDArray[np.bool_]]:
    return io.read_window(part, slice(None), slice(None))


def lay_out(
    model: Restorer,
    fitted: Fitted,
    *,
    tile: int | None,
    tolerance: float | None = TOLERANCE,
    fallback: Mapping[str, tuple[float, ...]] | None = None,
) -> Layout:
    """Cut the target grid of an image; `fallback` holds global means, read from the images where not given."""
    ratio = model.task.inputs[0].ratio
    shape = (fitted.grid.shape[0], fitted.grid.shape[1])
    unit = unit_of(model.task.stride, model.network.stride)
    halo, source = choose_halo(model, tolerance)
    sizes, deep = fitted.image.sizes, model.task.depth_ratio
    if deep is not None and sizes.get("z", 1) < 2:
        told = ", ".join(f"{axis}={size}" for axis, size in sizes.items())
        raise InputError(f"the image has one plane ({told}); the model needs a stack of several in depth")
    frames = (sizes["t"], sizes["z"] * (deep or 1)) if is_stack(fitted.image) else None
    tile = tile_side(tile if deep is None else min(tile or DEEP_TILE, DEEP_TILE), shape, unit)
    return Layout(
        shape=shape,
        ratio=ratio,
        tile=tile,
        halo=round_up(halo, unit),
        halo_from=source,
        fallback=global_means(model, fitted) if fallback is None else fallback,
        offset=fitted.offset,
        frames=frames,
        deep=None if deep is None or frames is None else min(tile, round_up(frames[1], unit)),
        halo_deep=0 if deep is None else round_up(halo, unit),
        ends=(-round_up(BEYOND, unit), round_up((frames or (1, 1))[1], unit) + round_up(BEYOND, unit)),
    )


def global_means(model: Restorer, fitted: Fitted) -> dict[str, tuple[float, ...]]:
    """Global mean of each band of each input, by the input's name; of several images those of the first."""
    main = model.task.inputs[0]
    means = {} if main.is_labels else {main.name: global_mean(fitted.image)}
    for name, given in fitted.others.items():
        try:
            means[name] = global_mean(next(each.image for each in given if each is not None))
        except InputError as error:
            raise InputError(f"{name}: {error}") from error
    return means
