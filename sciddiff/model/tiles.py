"""Windows of a fitted image through the engine: what one process computes, in memory or streamed."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from sciddiff import io
from sciddiff.errors import InputError, OptionError
from sciddiff.model.engine import Restorer, restore
from sciddiff.model.fit import Fitted
from sciddiff.model.windows import Window, lattice, read_padded, round_up, span, tile_side, unit_of
from sciddiff.tasks import Instrument

TOLERANCE = 1e-3
"""Change of a pixel that a narrower halo may cause, in spreads of the residual."""
INTERVAL = 1.6449
"""Half width of a Gaussian's central 90 % interval, in standard deviations."""
LOOK, LOOKS = 256, 64
"""Side and number of the windows from which the global statistics come."""


@dataclass(frozen=True)
class Request:
    """What is asked of the engine.

    `steps` counts the network evaluations of one sample; 1 is the posterior mean. `instrument` holds what is known of
    the instrument beyond the nominal numbers.
    """

    steps: int = 1
    samples: int = 1
    seed: int = 0
    method: str = "angle"
    instrument: Instrument = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.samples > 1 and self.steps < 2:
            raise OptionError(f"{self.samples} samples need steps of 2 or more; steps=1 is the posterior mean alone")

    @property
    def product(self) -> str:
        """Which result is the product: the mean, or one sample where a single one was asked for."""
        return "sample" if self.steps > 1 and self.samples == 1 else "mean"


@dataclass(frozen=True)
class Tile:
    """Results of one core by name, (bands, h, w) in physical units, NaN where invalid."""

    window: Window
    results: Mapping[str, NDArray[np.floating]]
    valid: NDArray[np.bool_]


@dataclass(frozen=True)
class Layout:
    """How the target grid is cut: the same numbers give the same pixels in any process."""

    shape: tuple[int, int]
    ratio: int
    tile: int
    halo: int
    halo_from: str
    fallback: tuple[float, ...]

    @property
    def windows(self) -> list[Window]:
        """All cores, row by row."""
        return lattice(self.shape, self.tile)

    @property
    def count(self) -> int:
        """Number of cores."""
        return math.prod(-(-side // self.tile) for side in self.shape)

    def window(self, number: int) -> Window:
        """One of the cores."""
        row, col = (index * self.tile for index in divmod(number, -(-self.shape[1] // self.tile)))
        return Window(row, col, min(self.tile, self.shape[0] - row), min(self.tile, self.shape[1] - col))


def choose_halo(model: Restorer, tolerance: float | None) -> tuple[int, str]:
    """The narrowest halo measured to keep within `tolerance`, or the full radius; and where it came from."""
    table = {int(halo): error for halo, error in model.record.get("halo", {}).items()}
    if tolerance is not None:
        for halo in sorted(table):
            if all(error <= tolerance for other, error in table.items() if other >= halo):
                return min(halo, model.radius), f"measured for {tolerance:g} of the residual's spread"
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
    shape = (image.shape[1], image.shape[2])
    mean = mean_of(_read(image, window) for window in looks(shape))
    if mean is None and not any(_read(image, window)[1].any() for window in lattice(shape, LOOK)):
        raise InputError("all pixels are invalid: nothing to predict")
    return mean or (0.0,) * len(image)


def _read(image: xr.DataArray, window: Window) -> tuple[NDArray[np.floating], NDArray[np.bool_]]:
    return io.read_window(image, *span(window))


def lay_out(
    model: Restorer,
    fitted: Fitted,
    *,
    tile: int | None,
    tolerance: float | None = TOLERANCE,
    fallback: tuple[float, ...] | None = None,
) -> Layout:
    """Cut the target grid of an image; `fallback` is its global mean, read from it where not given."""
    ratio = model.task.inputs[0].ratio
    height, width = fitted.image.shape[1:]
    shape = (height * ratio, width * ratio)
    unit = unit_of(model.task.stride, model.network.stride)
    halo, source = choose_halo(model, tolerance)
    return Layout(
        shape=shape,
        ratio=ratio,
        tile=tile_side(tile, shape, unit),
        halo=round_up(halo, unit),
        halo_from=source,
        fallback=global_mean(fitted.image) if fallback is None else fallback,
    )


@dataclass(frozen=True)
class Group:
    """Windows as they were read: which of their core's pixels are valid, and the input under those that have any."""

    windows: tuple[Window, ...]
    valid: tuple[NDArray[np.bool_], ...]
    observed: NDArray[np.floating]  # n c h w, of the windows with a valid pixel


def predict_tiles(
    model: Restorer, fitted: Fitted, layout: Layout, request: Request, *, windows: Sequence[Window], batch: int = 1
) -> Iterator[Tile]:
    """Compute the cores of `windows` in the order given.

    Windows without a valid pixel are not computed; neither batch nor order changes a pixel.
    """
    for first in range(0, len(windows), batch):
        group = read_group(model, fitted, layout, windows[first : first + batch])
        yield from compute_group(model, group, layout, request, positions=fitted.positions, batch=batch)


def read_group(model: Restorer, fitted: Fitted, layout: Layout, windows: Sequence[Window]) -> Group:
    """Read windows with their halo, in the model's bands; those that the image lacks are zero."""
    valid = tuple(_validity(fitted.image, layout, window) for window in windows)
    asked = [window for window, mask in zip(windows, valid, strict=True) if mask.any()]
    r, side = layout.ratio, layout.tile + 2 * layout.halo
    observed = np.zeros((len(asked), len(model.task.bands), side // r, side // r), fitted.image.dtype)
    for place, window in zip(observed, asked, strict=True):
        row, col = (window.row - layout.halo) // r, (window.col - layout.halo) // r
        place[list(fitted.positions)] = read_padded(
            fitted.image, row=row, col=col, height=side // r, width=side // r, fallback=layout.fallback
        )
    return Group(tuple(windows), valid, observed)


def compute_group(
    model: Restorer, group: Group, layout: Layout, request: Request, *, positions: Sequence[int], batch: int
) -> list[Tile]:
    """Compute the cores of a group; `positions` are the model's places of the image's bands."""
    asked = [window for window, mask in zip(group.windows, group.valid, strict=True) if mask.any()]
    size = at_once(model, batch)
    results = iter(
        [
            result
            for first in range(0, len(asked), size)
            for result in _compute(
                model,
                group.observed[first : first + size],
                layout,
                request,
                windows=asked[first : first + size],
                size=size,
            )
        ]
    )
    tiles = []
    for window, mask in zip(group.windows, group.valid, strict=True):
        blank = {name: np.full(mask.shape, np.nan, group.observed.dtype) for name in names(request)}
        found = next(results) if mask.any() else blank
        chosen = {name: value[list(positions)] if mask.any() else value for name, value in found.items()}
        cut = {name: np.where(mask, value, np.nan) for name, value in chosen.items()}
        tiles.append(Tile(window, cut, mask))
    return tiles


def at_once(model: Restorer, batch: int) -> int:
    """How many windows the network takes at once: one on a CPU, which gains nothing from more.

    Sums are rounded in another order in a batch of another size, so a batch is filled up where windows are missing:
    what a window gives depends on the size asked for, never on its company.
    """
    return 1 if model.residual_root.device.type == "cpu" else batch


def names(request: Request) -> list[str]:
    """Names of the results that a request gives."""
    if request.steps == 1:
        return ["mean"]
    return ["mean", "sample"] if request.samples == 1 else ["mean", "sample", "std", "lower", "upper"]


def _validity(image: xr.DataArray, layout: Layout, window: Window) -> NDArray[np.bool_]:
    rows, cols = below(layout, window)
    return core_validity(image.isel(y=rows, x=cols).coords["valid"].values, layout, window)


def below(layout: Layout, window: Window) -> tuple[slice, slice]:
    """Rows and columns of the input under a core."""
    r = layout.ratio
    bottom, right = -(-(window.row + window.height) // r), -(-(window.col + window.width) // r)
    return slice(window.row // r, bottom), slice(window.col // r, right)


def core_validity(valid: NDArray[np.bool_], layout: Layout, window: Window) -> NDArray[np.bool_]:
    """Which pixels of a core are valid, from those of the input under it."""
    return valid.repeat(layout.ratio, 1).repeat(layout.ratio, 2)[:, : window.height, : window.width]


def _compute(
    model: Restorer,
    observed: NDArray[np.floating],
    layout: Layout,
    request: Request,
    *,
    windows: Sequence[Window],
    size: int,
) -> list[dict[str, NDArray[np.floating]]]:
    main = model.task.inputs[0].name
    full = np.concatenate([observed, np.repeat(observed[-1:], size - len(observed), axis=0)])
    low = torch.from_numpy(full).to(model.residual_root.device)
    obs = model.task.observe({main: low}, request.instrument)
    origins = [(window.row - layout.halo, window.col - layout.halo) for window in windows]
    origins += origins[-1:] * (size - len(origins))
    stream = restore(
        model,
        obs,
        origins=origins,
        steps=request.steps,
        samples=request.samples,
        seed=request.seed,
        method=request.method,
    )
    results = _summary(stream)
    return [
        {name: _core(value[n], layout, window) for name, value in results.items()} for n, window in enumerate(windows)
    ]


def _core(value: Tensor, layout: Layout, window: Window) -> NDArray[np.floating]:
    rows = slice(layout.halo, layout.halo + window.height)
    cols = slice(layout.halo, layout.halo + window.width)
    core: NDArray[np.floating] = value[:, rows, cols].cpu().numpy()
    return core


def _summary(stream: Iterator[Tensor]) -> dict[str, Tensor]:
    """Mean, first sample, spread and 90 % interval, the samples taken one by one (Welford 1962)."""
    mean = next(stream)
    results = {"mean": mean}
    average, square, count = torch.zeros_like(mean), torch.zeros_like(mean), 0
    for sample in stream:
        count += 1
        results.setdefault("sample", sample)
        change = sample - average
        average += change / count
        square += change * (sample - average)
    if count > 1:
        std = torch.sqrt(square / (count - 1))
        results |= {"std": std, "lower": mean - INTERVAL * std, "upper": mean + INTERVAL * std}
    return results
