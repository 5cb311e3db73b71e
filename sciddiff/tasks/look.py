"""Looks at whole images before anything is computed, window by window until the answer is found."""

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from sciddiff import io

LOOK = 256
"""Side of the windows that are read."""
LOOKED_AT, SIDE = 16, 1024
"""Planes of a channel, and the largest side of the middle of each, in which its noise and levels are measured."""
DARK, BRIGHT = 0.01, 0.995
"""Quantiles of a channel that count as no light and as its bright structures."""


def looks(image: xr.DataArray) -> list[tuple[slice, slice]]:
    """Rows and columns of windows that cover an image, the middle ones first: its edges may be empty."""
    height, width = image.shape[1:]
    windows = [
        (slice(row, min(row + LOOK, height)), slice(col, min(col + LOOK, width)))
        for row in range(0, height, LOOK)
        for col in range(0, width, LOOK)
    ]
    middle = len(windows) // 2
    return windows[middle:] + windows[:middle]


def any_clear(image: xr.DataArray, mask: xr.DataArray) -> bool:
    """Whether a pixel of the image that is valid in any band is outside the mask."""
    for at in looks(image):
        _, valid = io.read_window(image, *at)
        values, known = io.read_window(mask, *at)
        if (valid.any(0) & ~((values != 0) & known).any(0)).any():
            return True
    return False


def looked_at(channel: xr.DataArray) -> NDArray[Any]:
    """The middle of evenly spread planes of a channel ([t, z,] y, x), (planes, h, w)."""
    cut = {axis: slice(max((channel.sizes[axis] - SIDE) // 2, 0), (channel.sizes[axis] + SIDE) // 2) for axis in "yx"}
    channel = channel.isel(cut)
    if "z" not in channel.dims:
        return channel.values[None]
    planes = [(t, z) for t in range(channel.sizes["t"]) for z in range(channel.sizes["z"])]
    chosen = planes[:: -(-len(planes) // LOOKED_AT)]
    return np.stack([channel.isel(t=t, z=z).values for t, z in chosen])


def levels_of(image: xr.DataArray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Values of each band that count as dark and as bright, over all planes of a stack alike.

    Parameters
    ----------
    image
        (band, [t, z,] y, x); of large ones a part is read.

    Returns
    -------
    dark, bright
        One number a band, bright above dark.
    """
    pairs = []
    for at in range(image.sizes["band"]):
        channel = image.isel(band=at)
        values, valid = looked_at(channel), looked_at(channel.coords["valid"])
        known = values[valid & np.isfinite(values)]
        dark, bright = np.quantile(known, (DARK, BRIGHT)) if known.size else (0.0, 1.0)
        pairs.append((float(dark), float(bright) if bright > dark else float(dark) + 1))
    darks, brights = zip(*pairs, strict=True)
    return darks, brights
