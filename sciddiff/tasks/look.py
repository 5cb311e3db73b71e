"""Looks at whole images before anything is computed, window by window until the answer is found."""

import xarray as xr

from sciddiff import io

LOOK = 256
"""Side of the windows that are read."""


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
