"""Windows of a fitted image through the engine: what one process computes, in memory or streamed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sciddiff.errors import InputError, OptionError
from sciddiff.model import memory
from sciddiff.model.engine import Guide, Restorer, restore
from sciddiff.model.fit import Fitted
from sciddiff.model.layout import Layout
from sciddiff.model.reading import Group, read_group
from sciddiff.model.request import Guidance, Request, names, told_of, weaker_of
from sciddiff.model.sections import Engine, restore_volume
from sciddiff.model.windows import Window
from sciddiff.tasks import Instrument, Observation

INTERVAL = 1.6449
"""Half width of a Gaussian's central 90 % interval, in standard deviations."""


@dataclass(frozen=True)
class Tile:
    """Results of one core by name, (bands, h, w) in physical units, NaN where invalid."""

    window: Window
    results: Mapping[str, NDArray[np.floating]]
    valid: NDArray[np.bool_]


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
        if any(np.isfinite(value).sum() < mask.sum() for value in cut.values()):
            _refuse_beyond(model, group, layout, window, number=asked.index(window))
        seen = mask.any(0)
        for name, bands in model.task.extras.items():
            everywhere = np.broadcast_to(seen, (len(bands), *seen.shape))
            cut[name] = _cut(found, name, everywhere, range(len(bands)), dtype=group.dtype)
        tiles.append(Tile(window, cut, mask))
    return tiles


def _refuse_beyond(model: Restorer, group: Group, layout: Layout, window: Window, *, number: int) -> None:
    """Raise where pixels that were measured got no value: squares of the input are beyond single precision."""
    values = [np.abs(group.observed[spec.name][number]).max(initial=0) for spec in model.task.inputs]
    row, col = window.row // layout.ratio, window.col // layout.ratio
    raise InputError(
        f"the window at row {row}, column {col} and its surroundings hold values of up to {max(values):.3g}, "
        "for which nothing can be computed: if that stands for missing pixels, declare it as nodata, "
        "as in gdal_edit.py -a_nodata"
    )


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
    told = told_of(layout, request)
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
