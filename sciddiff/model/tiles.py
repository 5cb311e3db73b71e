"""Windows of a fitted image through the engine: what one process computes, in memory or streamed."""

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from sciddiff.errors import OptionError
from sciddiff.model import memory
from sciddiff.model.engine import Guide, Restorer, restore
from sciddiff.model.fit import Fitted
from sciddiff.model.layout import Layout, global_means
from sciddiff.model.sections import Engine, read_volume, restore_volume
from sciddiff.model.windows import Window, read_padded, round_up, unit_of
from sciddiff.tasks import Input, Instrument, Observation, known_name
from sciddiff.tasks.base import NEIGHBOUR

INTERVAL = 1.6449
"""Half width of a Gaussian's central 90 % interval, in standard deviations."""


@dataclass(frozen=True)
class Guidance:
    """How a model is led beyond its own estimate; see `diffusion.guide`.

    Attributes
    ----------
    scale
        0: as if nothing were asked for; 1: the model itself; more: beyond it.
    interval
        Least and largest noise level that is guided, in units of the residual's standard deviation.
    negative
        What is not wanted, as an instrument; the origin is told this in place of nothing.
    weaker
        A model, by its path, that stands at the origin and is told all that the other is told.
    """

    scale: float = 1.0
    interval: tuple[float, float] = (0.0, math.inf)
    negative: Instrument = field(default_factory=dict)
    weaker: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.scale < math.inf:
            raise OptionError(f"the scale of guidance is {self.scale:g}; needs to be 0 or more")
        if self.negative and self.weaker is not None:
            raise OptionError("guidance sets out from what is not wanted or from a weaker model, not from both")
        if not 0 <= self.interval[0] < self.interval[1]:
            raise OptionError(f"the interval of guidance is {list(self.interval)}; needs 0 <= least < largest")
        if self.scale == 1 and (self.negative or self.weaker is not None or self.interval != (0.0, math.inf)):
            raise OptionError("guidance of scale 1 is the model itself; give another scale, such as 2, with the rest")


@dataclass(frozen=True)
class Request:
    """What is asked of the engine.

    `steps` counts the network evaluations of one sample; 1 is the posterior mean. `instrument` holds what is known of
    the instrument beyond the nominal numbers, or what is asked of a new image. `strength` says how far an image that is
    to be changed may change.
    """

    steps: int = 1
    samples: int = 1
    seed: int = 0
    method: str = "angle"
    instrument: Instrument = field(default_factory=dict)
    guidance: Guidance = field(default_factory=Guidance)
    strength: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.strength <= 1:
            raise OptionError(f"strength is {self.strength:g}; needs to be above 0, and 1 at most")
        if self.samples > 1 and self.steps < 2:
            raise OptionError(f"{self.samples} samples need steps of 2 or more; steps=1 is the posterior mean alone")

    @property
    def product(self) -> str:
        """Which result is the product: the mean, or one sample where a single one was asked for."""
        return "sample" if self.steps > 1 and self.samples == 1 else "mean"


def surveyed(model: Restorer, fitted: Fitted, request: Request) -> Request:
    """The request with what the whole image tells of its instrument, where nobody has told it.

    Raises
    ------
    OptionError
        It asks for what the model, or the image, has no use for.
    """
    if request.guidance.scale != 1 and not model.task.generative:
        raise OptionError("this model cannot be guided: there are no conditions that it may do without")
    if request.strength < 1 and fitted.changed is None:
        raise OptionError("strength says how far the input `image` may change; none is given")
    if request.guidance.weaker is not None:
        weaker_of(model, request.guidance.weaker, anew=True)
    others = {name: [_in_order(each) for each in given if each] for name, given in fitted.others.items()}
    found = model.task.survey(fitted.image, others, request.instrument)
    return replace(request, instrument={**found, **request.instrument})


def _in_order(fitted: Fitted) -> xr.DataArray:
    """An image with its bands in the model's order."""
    order = np.argsort(fitted.positions)
    return fitted.image if (np.diff(order) == 1).all() else fitted.image.isel(band=order)


@dataclass(frozen=True)
class Tile:
    """Results of one core by name, (bands, h, w) in physical units, NaN where invalid."""

    window: Window
    results: Mapping[str, NDArray[np.floating]]
    valid: NDArray[np.bool_]


@dataclass(frozen=True)
class Group:
    """Windows as they were read: which of their core's pixels are valid, and the input under those that have any."""

    windows: tuple[Window, ...]
    valid: tuple[NDArray[np.bool_], ...]
    observed: Mapping[str, NDArray[np.floating]]  # n c h w each, of the windows with a valid pixel

    @property
    def dtype(self) -> np.dtype[np.floating]:
        """See `Fitted.dtype`."""
        return next(iter(self.observed.values())).dtype


def predict_tiles(
    model: Restorer, fitted: Fitted, layout: Layout, request: Request, *, windows: Sequence[Window], batch: int = 1
) -> Iterator[Tile]:
    """Compute the cores of `windows` in the order given.

    Windows without a valid pixel are not computed; neither batch nor order changes a pixel.
    """
    with memory.kept():
        for first in range(0, len(windows), batch):
            group = read_group(model, fitted, layout, windows[first : first + batch])
            yield from compute_group(model, group, layout, request, positions=fitted.results, batch=batch)


def read_group(model: Restorer, fitted: Fitted, layout: Layout, windows: Sequence[Window]) -> Group:
    """Read windows of all inputs with their halo, in the model's bands; those that the images lack are zero."""
    valid = tuple(_validity(model, fitted, layout, window) for window in windows)
    asked = [window for window, mask in zip(windows, valid, strict=True) if mask.any()]
    if layout.deep is not None:
        return Group(tuple(windows), valid, _volumes(model, fitted, layout, asked))
    frames = [fitted.frame(window.frame) for window in asked]
    observed: dict[str, NDArray[np.floating]] = {}
    for spec in model.task.inputs:
        main = spec is model.task.inputs[0]
        given = [(frame,) if main else frame.others.get(spec.name, ()) for frame in frames]
        bands = len(fitted.positions) if model.task.channelwise else len(spec.bands)
        observed |= _read_input(spec, given, layout, asked, bands=bands, dtype=fitted.dtype)
    return Group(tuple(windows), valid, observed)


def _volumes(
    model: Restorer, fitted: Fitted, layout: Layout, windows: Sequence[Window]
) -> dict[str, NDArray[np.floating]]:
    """What was measured under cores of several planes, (n, bands, planes, side, side)."""
    spec, ratio = model.task.inputs[0], model.task.depth_ratio or 1
    fallback = _fallback(spec, layout, fitted) or (0.0,) * len(fitted.positions)
    parts = [read_volume(fitted.image, layout, window, ratio=ratio, fallback=fallback) for window in windows]
    order = np.argsort(fitted.positions)  # from the file's order of bands to the model's
    return {spec.name: np.stack(parts)[:, order]} if parts else {spec.name: np.zeros(0, fitted.image.dtype)}


def observe_whole(model: Restorer, fitted: Fitted) -> Observation:
    """All images at once, in memory, as methods want them that look at a whole scene."""
    shape = (fitted.grid.shape[0], fitted.grid.shape[1])
    side = round_up(max(shape), unit_of(model.task.stride, model.network.stride))
    means = global_means(model, fitted)
    layout = Layout(shape, model.task.inputs[0].ratio, side, 0, "", fallback=means, offset=fitted.offset)
    observed: dict[str, Tensor] = {}
    for spec in model.task.inputs:
        given = (fitted,) if spec is model.task.inputs[0] else fitted.others.get(spec.name, ())
        window, bands = Window(0, 0, *shape), len(spec.bands)
        parts = _read_input(spec, [given], layout, [window], bands=bands, dtype=fitted.dtype)
        height, width = (-(-size // spec.ratio) for size in shape)
        observed |= {name: torch.from_numpy(part[..., :height, :width]) for name, part in parts.items()}
    device = model.residual_root.device
    return model.task.observe({name: part.to(device) for name, part in observed.items()}, _told(layout, Request()))


def _read_input(
    spec: Input,
    given: Sequence[Sequence[Fitted | None]],
    layout: Layout,
    windows: Sequence[Window],
    *,
    bands: int,
    dtype: np.dtype[np.floating],
) -> dict[str, NDArray[np.floating]]:
    """Values of an input, given for each window, and where they are known, (n, channels, side, side) each."""
    r, side = spec.ratio, (layout.tile + 2 * layout.halo) // spec.ratio
    values = np.zeros((len(windows), bands * spec.most, side, side), dtype)
    known = np.zeros_like(values)
    for at, window in enumerate(windows):
        row, col = corner(layout, window, ratio=r)
        for number, each in enumerate(given[at]):
            if each is None:
                continue
            channels = [number * bands + position for position in each.positions]
            values[at, channels], known[at, channels] = read_padded(
                each.image, row=row, col=col, height=side, width=side, fallback=_fallback(spec, layout, each)
            )
            if spec.is_mask:  # it says something everywhere: what is invalid, or beyond its edge, is not set
                values[at, channels] = known[at, channels] * values[at, channels] != 0
                known[at, channels] = 1
    return {spec.name: values, known_name(spec.name): known}


def _fallback(spec: Input, layout: Layout, given: Fitted) -> tuple[float, ...] | None:
    """Global means of the bands of an input; of the planes beside one those of all planes; labels have none."""
    if spec.is_labels:
        return None
    name = next(iter(layout.fallback), "") if spec.name == NEIGHBOUR else spec.name
    return layout.fallback.get(name, (0.0,) * len(given.positions))


def corner(layout: Layout, window: Window, *, ratio: int) -> tuple[int, int]:
    """First pixel of a window and its halo in an input of a ratio; it may lie outside."""
    begins = layout.begins if ratio == layout.ratio else (0, 0)
    row, col = ((at - layout.halo) // ratio for at in (window.row, window.col))
    return row + begins[0], col + begins[1]


def compute_group(
    model: Restorer, group: Group, layout: Layout, request: Request, *, positions: Sequence[int], batch: int
) -> list[Tile]:
    """Compute the cores of a group; `positions` are the model's places of the result's bands."""
    asked = [window for window, mask in zip(group.windows, group.valid, strict=True) if mask.any()]
    size = at_once(model, batch)
    results = iter(
        [
            result
            for first in range(0, len(asked), size)
            for result in _compute(
                model,
                {name: part[first : first + size] for name, part in group.observed.items()},
                layout,
                request,
                windows=asked[first : first + size],
                size=size,
            )
        ]
    )
    tiles = []
    for window, mask in zip(group.windows, group.valid, strict=True):
        found = next(results) if mask.any() else None
        cut = {name: _cut(found, name, mask, positions, dtype=group.dtype) for name in names(request)}
        seen = mask.any(0)
        for name, bands in model.task.extras.items():
            everywhere = np.broadcast_to(seen, (len(bands), *seen.shape))
            cut[name] = _cut(found, name, everywhere, range(len(bands)), dtype=group.dtype)
        tiles.append(Tile(window, cut, mask))
    return tiles


def _cut(
    found: Mapping[str, NDArray[np.floating]] | None,
    name: str,
    mask: NDArray[np.bool_],
    channels: Sequence[int],
    *,
    dtype: np.dtype[np.floating],
) -> NDArray[np.floating]:
    """A result where the mask is, in the channels asked for; NaN elsewhere, and where nothing was computed."""
    if found is None:
        return np.full(mask.shape, np.nan, dtype)
    result = found[name][list(channels)].astype(dtype, copy=False)
    if not mask.all():
        np.copyto(result, np.nan, where=~mask)
    return result


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


def _validity(model: Restorer, fitted: Fitted, layout: Layout, window: Window) -> NDArray[np.bool_]:
    """Which pixels of a core get a value, (c, [d,] h, w) in the bands of the result."""
    if layout.deep is None:
        return _valid_plane(model, fitted, layout, window)
    planes, ratio = fitted.image.sizes["z"], model.task.depth_ratio or 1
    t, z = divmod(window.frame, planes * ratio)
    under = [at // ratio for at in range(z, z + window.depth)]
    found = {
        at: _valid_plane(model, fitted, layout, replace(window, frame=t * planes + at)) for at in sorted(set(under))
    }
    return np.stack([found[at] for at in under], axis=1)


def _valid_plane(model: Restorer, fitted: Fitted, layout: Layout, window: Window) -> NDArray[np.bool_]:
    task, fitted = model.task, fitted.frame(window.frame)
    main = task.inputs[0]
    around = grown(window, task.margin)
    known = {main.name: _known(main, fitted, layout, around, channels=len(fitted.positions))}
    for spec in task.inputs[1:]:
        if given := [each for each in fitted.others.get(spec.name, ()) if each is not None]:
            known[spec.name] = np.concatenate([_known(spec, each, layout, around) for each in given])
    inner = slice(task.margin, task.margin + window.height), slice(task.margin, task.margin + window.width)
    shape = (len(fitted.results), *known[main.name].shape[1:])
    valid: NDArray[np.bool_] = np.broadcast_to(task.valid(known), shape)[:, *inner]
    return valid


def grown(window: Window, margin: int) -> Window:
    """A window and its surroundings."""
    return Window(window.row - margin, window.col - margin, window.height + 2 * margin, window.width + 2 * margin)


def _known(
    spec: Input, given: Fitted, layout: Layout, window: Window, *, channels: int | None = None
) -> NDArray[np.bool_]:
    """Validity of an input at the target pixels of a window, (channels, h, w); of a mask where it is set."""
    shape = (given.image.shape[1], given.image.shape[2])
    rows, cols = under(layout, window, ratio=spec.ratio)
    inside = [(at >= 0) & (at < side) for at, side in zip((rows, cols), shape, strict=True)]
    result = np.zeros((channels or len(given.positions), len(rows), len(cols)), bool)
    if not (inside[0].any() and inside[1].any()):
        return result
    place = [slice(at.argmax(), at.argmax() + at.sum()) for at in inside]  # without a gap, for both only grow
    rows, cols = rows[place[0]], cols[place[1]]
    part = given.image.isel(y=slice(rows[0], rows[-1] + 1), x=slice(cols[0], cols[-1] + 1))
    block = part.coords["valid"].values
    if spec.is_mask:
        block = block & (part.values != 0)
    result[:, *place] = block[:, :, cols - cols[0]][:, rows - rows[0]]  # whole rows last, of which there are more
    return result


def under(layout: Layout, window: Window, *, ratio: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of an input of a ratio under each row and column of a window; they may lie outside."""
    offset = layout.offset if ratio == layout.ratio else (0.0, 0.0)
    row, col = (
        np.arange(at, at + size) + 0.5 for at, size in ((window.row, window.height), (window.col, window.width))
    )
    rows, cols = (np.floor((at + more) / ratio).astype(np.intp) for at, more in zip((row, col), offset, strict=True))
    return rows, cols


def _compute(
    model: Restorer,
    observed: Mapping[str, NDArray[np.floating]],
    layout: Layout,
    request: Request,
    *,
    windows: Sequence[Window],
    size: int,
) -> list[dict[str, NDArray[np.floating]]]:
    if layout.deep is not None:
        return [
            _volume(model, observed[model.task.inputs[0].name][n], layout, window, request)
            for n, window in enumerate(windows)
        ]
    origins = [_origin(layout, window) for window in windows]
    origins += origins[-1:] * (size - len(origins))
    tensors = _filled_up(observed, size, model.residual_root.device)
    told = _told(layout, request)
    if model.task.channelwise:
        count = tensors[model.task.inputs[0].name].shape[1]
        parts = [
            _restored(model, _channel(tensors, n, count), _of_channel(told, n, count), request, origins, channel=n)
            for n in range(count)
        ]
        results = {name: torch.cat([part[name] for part in parts], 1) for name in parts[0]}
    else:
        results = _restored(model, tensors, told, request, origins)
    return [
        {name: _core(value[n], layout, window) for name, value in results.items()} for n, window in enumerate(windows)
    ]


def _volume(
    model: Restorer, values: NDArray[np.floating], layout: Layout, window: Window, request: Request
) -> dict[str, NDArray[np.floating]]:
    """A core of several planes, (c, d, h, w), its channels together or one by one."""
    volume = torch.from_numpy(values).to(model.residual_root.device)
    count = len(volume) if model.task.channelwise else 1
    parts = [
        _summary(
            restore_volume(
                model,
                volume[n::count],
                layout,
                window,
                _of_channel(request.instrument, n, count),
                engine=_engine(model, request),
                channel=n,
            )
        )
        for n in range(count)
    ]
    return {name: torch.cat([part[name][0] for part in parts]).cpu().numpy() for name in parts[0]}


def _engine(model: Restorer, request: Request) -> Engine:
    """The engine, told what is asked of it."""
    return partial(
        restore,
        model,
        steps=request.steps,
        samples=request.samples,
        seed=request.seed,
        method=request.method,
        strength=request.strength,
    )


def _restored(
    model: Restorer,
    tensors: Mapping[str, Tensor],
    told: Instrument,
    request: Request,
    origins: Sequence[tuple[int, ...]],
    *,
    channel: int = 0,
) -> dict[str, Tensor]:
    obs = model.task.observe(tensors, told)
    guide = _guide(model, tensors, told, obs, request.guidance)
    results = _summary(_engine(model, request)(obs, origins=origins, channel=channel, guide=guide))
    return results | dict(model.task.extra_results(results["mean"], obs))


def _guide(
    model: Restorer, tensors: Mapping[str, Tensor], told: Instrument, obs: Observation, guidance: Guidance
) -> Guide | None:
    """What a window is guided by; nothing where the model itself is asked for."""
    if guidance.scale == 1:
        return None
    hidden = model.task.unconditional(obs)
    if hidden is None:
        raise OptionError("this model cannot be guided: there are no conditions that it may do without")
    if guidance.weaker is not None:
        weaker = weaker_of(model, guidance.weaker)
        return Guide(obs, guidance.scale, guidance.interval, weaker)
    if guidance.negative:
        hidden = model.task.observe(tensors, {**told, **guidance.negative})
    return Guide(hidden, guidance.scale, guidance.interval)


def weaker_of(model: Restorer, path: str, *, anew: bool = False) -> Restorer:
    """The model at a path, if it can stand at the origin of a model's guidance: the same in all but its network.

    Parameters
    ----------
    model
        The one that is guided.
    path
        Of the weaker one.
    anew
        Whether to read it, as a prediction does when it begins, if another file may have come to the path since.

    Raises
    ------
    OptionError
        It cannot.
    """
    if anew:
        _loaded.cache_clear()
    weaker = _loaded(path, str(model.residual_root.device))
    if weaker.recipe.task != model.recipe.task or weaker.recipe.bands != model.recipe.bands:
        raise OptionError(f"{path} has another task, or other bands, than {model.recipe.name}, which it is to guide")
    if not torch.allclose(weaker.residual_root, model.residual_root, rtol=1e-3, atol=1e-3):
        raise OptionError(f"{path} was trained on other images than {model.recipe.name}, which it is to guide")
    return weaker


@functools.lru_cache(maxsize=2)
def _loaded(path: str, device: str) -> Restorer:
    from sciddiff.model.file import load  # which imports this module by way of the model

    return load(path, device=device)


def _origin(layout: Layout, window: Window) -> tuple[int, ...]:
    """Absolute pixel of a window's first, its halo included; in a stack its plane comes first."""
    corner = window.row - layout.halo, window.col - layout.halo
    return corner if layout.frames is None else (window.frame, *corner)


def _channel(tensors: Mapping[str, Tensor], number: int, count: int) -> dict[str, Tensor]:
    """One of `count` channels of all inputs, whose images follow each other."""
    return {name: tensor[:, number::count] for name, tensor in tensors.items()}


def _of_channel(told: Instrument, number: int, count: int) -> Instrument:
    """What is known of the instrument in one of `count` channels: of numbers that were told for each, its own."""
    return {
        name: (numbers[number],) if len(numbers) == count and name != "offset" else numbers
        for name, numbers in told.items()
    }


def _filled_up(observed: Mapping[str, NDArray[np.floating]], size: int, device: torch.device) -> dict[str, Tensor]:
    """Tensors of `size` windows, the last one repeated where some are missing."""
    full = {
        name: np.concatenate([part, np.repeat(part[-1:], size - len(part), axis=0)]) for name, part in observed.items()
    }
    return {name: torch.from_numpy(part).to(device) for name, part in full.items()}


def _told(layout: Layout, request: Request) -> Instrument:
    """What is known of the instrument, and where the grids lie."""
    return request.instrument if layout.phase == (0.0, 0.0) else {**request.instrument, "offset": layout.phase}


def _core(value: Tensor, layout: Layout, window: Window) -> NDArray[np.floating]:
    rows = slice(layout.halo, layout.halo + window.height)
    cols = slice(layout.halo, layout.halo + window.width)
    core: NDArray[np.floating] = value[:, rows, cols].cpu().numpy()
    return core


def _summary(stream: Iterator[Tensor]) -> dict[str, Tensor]:
    """Mean, first sample, spread and 90 % interval, the samples taken one by one (Welford 1962)."""
    results = {"mean": next(stream)}
    count, square = 0, torch.zeros(())
    for count, sample in enumerate(stream, 1):
        if count == 1:
            average = results["sample"] = sample
            continue
        change = sample - average
        average = average + change / count
        square = square + change * (sample - average)
    if count > 1:
        mean, std = results["mean"], torch.sqrt(square / (count - 1))
        results |= {"std": std, "lower": mean - INTERVAL * std, "upper": mean + INTERVAL * std}
    return results
