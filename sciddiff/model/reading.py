"""What windows read: the input under a core and its halo, where it is known, which pixels get a value."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sciddiff.model.engine import Restorer
from sciddiff.model.fit import Fitted
from sciddiff.model.layout import Layout, global_means
from sciddiff.model.request import Request, told_of
from sciddiff.model.sections import read_volume
from sciddiff.model.windows import Window, read_padded, round_up, unit_of
from sciddiff.tasks import Input, Observation, known_name
from sciddiff.tasks.base import NEIGHBOUR


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


def observe_whole(model: Restorer, fitted: Fitted, request: Request | None = None) -> Observation:
    """All images at once, in memory, as methods want them that look at a whole scene; `request` tells what is known."""
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
    device, told = model.residual_root.device, told_of(layout, request or Request())
    return model.task.observe({name: part.to(device) for name, part in observed.items()}, told)


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
