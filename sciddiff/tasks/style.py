"""How images look, whatever they show: numbers that a reference image gives and a synthesis may follow."""

from collections.abc import Callable

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from torch.nn import functional as F

from sciddiff import io
from sciddiff.errors import InputError
from sciddiff.tasks.look import looks

QUANTILES = (0.1, 0.5, 0.9, 0.99)
OCTAVES = 3
PER_BAND = len(QUANTILES) + OCTAVES
"""Numbers that a band gives."""
SIDE = 96
"""Pixels along a side of the windows from which they come: about those of training."""
FLAT = 1e-3
"""Strength of detail, in the unit of the image, below which there is none."""


def style_numbers(images: Tensor) -> Tensor:
    """Quantiles of each band, and the logarithm of the spread of its detail in three octaves, the finest first.

    Parameters
    ----------
    images
        (b, c, h, w), sides of 16 or more, in the space in which a synthesis is learned. Detail is that of the pixels up
        to the last multiple of 8.

    Returns
    -------
    Tensor
        (b, c `PER_BAND`), band by band.
    """
    pixels = images.flatten(2).float()
    levels = torch.quantile(pixels, torch.tensor(QUANTILES).to(pixels), dim=2).permute(1, 2, 0)  # b c q
    height, width = (side // 2**OCTAVES * 2**OCTAVES for side in images.shape[-2:])
    detail, fine = [], images[..., :height, :width].float()
    for _ in range(OCTAVES):
        coarse = F.avg_pool2d(fine, 2)
        rest = fine - F.interpolate(coarse, scale_factor=2, mode="nearest")
        detail.append(torch.log(rest.std((2, 3)) + FLAT))
        fine = coarse
    return torch.cat([levels, torch.stack(detail, 2)], 2).flatten(1)


def style_of(image: xr.DataArray, transform: Callable[[Tensor], Tensor]) -> tuple[float, ...]:
    """The mean of `style_numbers` over windows of a reference image.

    Parameters
    ----------
    image
        (band, y, x) in the model's order of bands.
    transform
        From the values of the image to the space in which a synthesis is learned.

    Raises
    ------
    InputError
        The image is smaller than a window, or has none without invalid pixels.
    """
    found = []
    for rows, cols in looks(image):
        values, valid = io.read_window(image, rows, cols)
        for row in range(0, values.shape[1] - SIDE + 1, SIDE):
            for col in range(0, values.shape[2] - SIDE + 1, SIDE):
                at = np.s_[:, row : row + SIDE, col : col + SIDE]
                if valid[at].all():
                    found.append(style_numbers(transform(torch.from_numpy(values[at])[None]))[0])
    if not found:
        raise InputError(f"a reference of style needs a window of {SIDE} x {SIDE} pixels without invalid ones")
    return tuple(round(float(number), 4) for number in torch.stack(found).mean(0))
