"""Files that do not say what their numbers or their axes mean, and a user does."""

import math
import os
import re
from pathlib import Path

from sciddiff.errors import InputError, OptionError

AXES = "axes://"


def with_axes(path: str, axes: str | None) -> str:
    """Return the location of a stack as if its file said that its axes are these.

    Parameters
    ----------
    path
        A local TIFF.
    axes
        Letters of TCZYX, slowest first; None: the path is as it was.
    """
    return path if axes is None else f"{AXES}{axes.upper()}{os.path.abspath(path)}"


def axes_of(where: str) -> tuple[str | None, str]:
    """Return the axes that `with_axes` joined to a path, and the path.

    Parameters
    ----------
    where
        Any location.
    """
    if not where.startswith(AXES):
        return None, where
    axes, _, path = where.removeprefix(AXES).partition("/")
    return axes, f"/{path}"


def stated(path: str, *, scale: float | None, offset: float | None) -> str:
    """Return the location of a raster as if its file had this scale and offset, whatever it says.

    Parameters
    ----------
    path
        A local raster in one file.
    scale, offset
        Physical value of a stored step and of a stored zero; None: 1 and 0. With neither the path is as it was.

    Returns
    -------
    str
        GDAL's `vrt://` connection to it: what is written from it keeps its type, and says scale and offset.

    Raises
    ------
    InputError
        It is no single local file, or GDAL cannot be told its name.
    OptionError
        A scale that is not positive, or a number that is not finite.
    """
    if scale is None and offset is None:
        return path
    if scale is not None and not 0 < scale < math.inf:
        raise OptionError(f"the scale is {scale:g}; expected the physical value of a stored step, such as 0.0001")
    if offset is not None and not math.isfinite(offset):
        raise OptionError(f"the offset is {offset:g}; expected the physical value of a stored zero, such as -0.1")
    if not os.path.isfile(path):
        raise InputError(f"{path}: a scale and an offset can be given for one local raster file only")
    if set(Path(path).name) & set("?&"):
        raise InputError(f"{path}: a scale cannot be given for a name with ? or &; rename the file")
    return f"vrt://{os.path.abspath(path)}?a_scale={scale or 1!r}&a_offset={offset or 0.0!r}"


def file_of(where: str) -> str | None:
    """Return the file in a location that `stated` gave; None of any other.

    Parameters
    ----------
    where
        Any location.
    """
    found = re.fullmatch(r"vrt://(/.*)\?a_scale=[^?&]*&a_offset=[^?&]*", where)
    return None if found is None else found[1]
