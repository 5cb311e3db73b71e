"""Which pixels were measured: from nodata, alpha, the per-dataset mask, and numbers that are none.

A pixel is valid if all that the file says agrees. NaN and infinities are never valid, whether or not the file names
them: an infinity is a division gone wrong, and would poison every mean around it. Zero is a value unless the file
says otherwise.
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sciddiff.io.radiometry import holds

_OPACITY = re.compile(r"alpha|mask|opacity|transparen|valid", re.IGNORECASE)


def alpha_band(src: Any) -> int | None:
    """Return the 1-based band that holds validity, if there is one.

    GDAL labels the fourth band of many aerial images alpha though it is near infrared. A band that says what it is,
    and does not say alpha, is believed: it is data.

    Parameters
    ----------
    src
        Open rasterio dataset.
    """
    from rasterio.enums import ColorInterp

    for index, colour in zip(src.indexes, src.colorinterp, strict=True):
        if colour == ColorInterp.alpha and src.count > 1:
            spoken = (src.descriptions[index - 1] or src.tags(index).get("BANDNAME") or "").strip()
            if not spoken or _OPACITY.search(spoken):
                return int(index)
    return None


def has_mask(src: Any) -> bool:
    """Return whether a file has a per-dataset mask of its own, internal or beside it, that is no alpha band.

    Parameters
    ----------
    src
        Open rasterio dataset.
    """
    from rasterio.enums import MaskFlags

    flags = src.mask_flag_enums[0]
    return MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags


def validity(
    stored: NDArray[Any], *, nodata: Sequence[float | None], opaque: NDArray[np.bool_] | None = None
) -> NDArray[np.bool_]:
    """Return which pixels are valid.

    Parameters
    ----------
    stored
        (c, h, w), the numbers in the file.
    nodata
        One a band; a number that the type cannot hold marks nothing.
    opaque
        (h, w), where alpha and mask are not zero.

    Returns
    -------
    ndarray
        (c, h, w) bool.
    """
    valid = np.isfinite(stored) if stored.dtype.kind == "f" else np.ones(stored.shape, bool)
    for known, numbers, empty in zip(valid, stored, nodata, strict=True):
        if empty is not None and holds(stored.dtype.name, empty):
            known &= numbers != stored.dtype.type(empty)
    if opaque is not None:
        valid &= opaque
    return valid
