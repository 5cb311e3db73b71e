"""Looks at whole images before anything is computed, window by window until the answer is found."""

from itertools import product

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from sciddiff import io

LOOK = 256
"""Side of the windows that are read."""
SURVEYED, SIDE = 16, 1024
"""Windows, and pixels along a side of one, in which the noise and the levels of a channel are measured at most."""
ENOUGH, MOST = 2**18, 1024
"""Pixels for which more windows are read where planes are small, and windows then at most."""
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


def all_valid(image: xr.DataArray) -> bool:
    """Whether every pixel of an image is valid in all bands."""
    return all(io.read_window(image, *at)[1].all() for at in looks(image))


def some_values(mask: xr.DataArray) -> list[float]:
    """Values of a mask of one band, in order, in the first of its windows that has any."""
    for at in looks(mask):
        values, known = io.read_window(mask, *at)
        if known.any():
            return np.unique(values[known]).tolist()
    return []


def sampled(image: xr.DataArray) -> NDArray[np.float64]:
    """Windows of an image or stack (..., y, x), evenly taken, NaN where invalid or outside.

    Of (SIDE, SIDE) pixels at most; more of them where planes are small.
    """
    height, width = image.shape[-2:]
    lines = (range(0, height, SIDE), range(0, width, SIDE))
    places = list(product(*(range(length) for length in image.shape[:-2]), *lines))
    windows = []
    count = min(MOST, max(SURVEYED, -(-ENOUGH // (height * width))))
    for at in np.unique(np.linspace(0, len(places) - 1, count).round().astype(int)):
        *plane, row, col = places[at]
        rows, cols = slice(row, row + SIDE), slice(col, col + SIDE)
        part = image[(*plane, rows, cols)]
        values = part.values.astype(np.float64)
        if "valid" in part.coords:
            values = np.where(part.valid.values, values, np.nan)
        outside = ((0, min(height, SIDE) - len(values)), (0, min(width, SIDE) - values.shape[1]))
        windows.append(np.pad(values, outside, constant_values=np.nan))
    return np.stack(windows)


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
        values = sampled(image.isel(band=at))
        known = values[np.isfinite(values)]
        dark, bright = np.quantile(known, (DARK, BRIGHT)) if known.size else (0.0, 1.0)
        pairs.append((float(dark), float(bright) if bright > dark else float(dark) + 1))
    darks, brights = zip(*pairs, strict=True)
    return darks, brights
