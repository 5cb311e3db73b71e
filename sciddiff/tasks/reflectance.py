"""Whether an image holds reflectance."""

import numpy as np
import xarray as xr

from sciddiff import io
from sciddiff.errors import InputError
from sciddiff.tasks.look import looks

MOST = 2.0
"""Largest reflectance there is, glint and snow included; what is beyond are digital numbers."""


def refuse_numbers(image: xr.DataArray, name: str) -> None:
    """Raise where an image holds digital numbers rather than reflectance.

    Parameters
    ----------
    image
        (band, y, x).
    name
        What the message calls it.

    Raises
    ------
    InputError
        The first window with a valid pixel holds values above `MOST`, not counting one in a hundred: a mirror of the
        sun, or saturated.
    """
    for rows, cols in looks(image):
        values, valid = io.read_window(image, rows, cols)
        if not valid.any():
            continue
        if float(np.quantile(np.abs(values[valid]), 0.99)) <= MOST:
            return
        largest = float(np.abs(values[valid]).max())
        path = image.encoding.get("source")
        where = f"{name} ({path})" if path else name
        raise InputError(
            f"{where} holds values up to {largest:g}: digital numbers, where reflectance from 0 to 1 is needed; say "
            "what they mean, such as `--scale 0.0001` for Sentinel-2, or `gdal_edit.py -scale 0.0001 FILE` once for all"
        )
