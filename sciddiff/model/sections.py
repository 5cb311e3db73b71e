"""Volumes through a network of two dimensions: sections along depth, across and along the rows, averaged.

A task that makes planes (`depth_ratio`) sees sections of a volume whose rows are planes: all those along x, and all
those along y. Both give an estimate of each voxel; their mean agrees with the measurement as each of them does, for
what was measured is linear along depth.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from sciddiff.model.engine import Restorer
from sciddiff.model.layout import Layout
from sciddiff.model.windows import Window, read_padded
from sciddiff.tasks import Instrument

Engine = Callable[..., Iterator[Tensor]]
"""From an observation, `origins` and `channel` to the mean and the samples."""
AT_ONCE = 8
"""Sections that go through the network together."""


def planes_under(layout: Layout, window: Window, *, ratio: int, planes: int) -> list[int]:
    """Measured planes under a core and its halo along depth, the first and last standing in beyond the ends.

    Parameters
    ----------
    layout
        Of the result.
    window
        The core.
    ratio
        Planes of the result for a measured one.
    planes
        Measured ones.
    """
    start, stop = layout.reach_in_depth(window)
    return [min(max(at // ratio, 0), planes - 1) for at in range(start, stop, ratio)]


def read_volume(
    image: xr.DataArray, layout: Layout, window: Window, *, ratio: int, fallback: Sequence[float] | None
) -> NDArray[np.floating]:
    """What was measured under a core and its halo, (bands, planes, side, side), filled where invalid.

    Parameters
    ----------
    image
        (band, t, z, y, x).
    layout, window, ratio
        See `planes_under`.
    fallback
        See `windows.fill_invalid`.
    """
    planes, side = image.sizes["z"], layout.tile + 2 * layout.halo
    t = window.frame // (planes * ratio)
    under = planes_under(layout, window, ratio=ratio, planes=planes)
    row, col = window.row - layout.halo, window.col - layout.halo
    read = {
        z: read_padded(image.isel(t=t, z=z), row=row, col=col, height=side, width=side, fallback=fallback)[0]
        for z in sorted(set(under))
    }
    return np.stack([read[z] for z in under], axis=1)


def restore_volume(
    model: Restorer,
    volume: Tensor,
    layout: Layout,
    window: Window,
    told: Instrument,
    *,
    engine: Engine,
    channel: int = 0,
) -> Iterator[Tensor]:
    """Posterior mean of a core, then its samples one by one.

    Parameters
    ----------
    model
        The model.
    volume
        (c, planes, side, side), as `read_volume` gives it.
    layout, window
        Of the core.
    told
        What is known of the instrument.
    engine
        `engine.restore` of the model, told how many steps and samples.
    channel
        See `engine.restore`.

    Yields
    ------
    Tensor
        (1, c, depth, h, w).

    Notes
    -----
    The two kinds of sections draw independent noise, so a sample departs from the mean by the sum of both departures
    over the root of two: its variance is the mean of theirs.
    """
    along_x = volume.permute(2, 0, 1, 3)[layout.halo : layout.halo + window.height]  # y c z x
    along_y = volume.permute(3, 0, 1, 2)[layout.halo : layout.halo + window.width]  # x c z y
    start, _ = layout.reach_in_depth(window)
    z = window.frame % (layout.frames or (1, 1))[1]
    corner = window.frame - z + start
    views = (
        (along_x, window.row, window.col, window.width, (1, 2, 0, 3)),
        (along_y, window.col, window.row, window.height, (1, 2, 3, 0)),
    )
    streams = []
    for number, (sections, first, begin, length, order) in enumerate(views):
        found = _restored(
            model,
            sections,
            told,
            origins=[(first + at, corner, begin - layout.halo) for at in range(len(sections))],
            engine=engine,
            channel=(2 * channel + number) * len(volume),
        )
        depth = slice(z - start, z - start + window.depth)
        across = slice(layout.halo, layout.halo + length)
        streams.append([part[:, :, depth, across].permute(*order)[None] for part in found])
    means = [stream[0] for stream in streams]
    mean = (means[0] + means[1]) / 2
    yield mean
    for one, other in zip(streams[0][1:], streams[1][1:], strict=True):
        yield mean + (one - means[0] + other - means[1]) / math.sqrt(2)


def _restored(
    model: Restorer,
    sections: Tensor,
    told: Instrument,
    *,
    origins: Sequence[tuple[int, int, int]],
    engine: Engine,
    channel: int,
) -> list[Tensor]:
    """Mean and samples of all sections, (n, c, z, across) each."""
    name = model.task.inputs[0].name
    parts: list[list[Tensor]] = []
    for first in range(0, len(sections), AT_ONCE):
        taken = sections[first : first + AT_ONCE]
        missing = AT_ONCE - len(taken)  # sums are rounded in another order in a batch of another size
        taken = torch.cat([taken, taken[-1:].expand(missing, *taken.shape[1:])])
        places = [*origins[first : first + AT_ONCE], *[origins[-1]] * missing]
        obs = model.task.observe({name: taken.contiguous()}, told)
        stream = engine(obs, origins=places, channel=channel)
        parts.append([part[: AT_ONCE - missing] for part in stream])
    return [torch.cat(pieces) for pieces in zip(*parts, strict=True)]
