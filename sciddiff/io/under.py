"""What stands in a file under its invalid pixels, so that writing an image back changes no bit of it."""

import os
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from sciddiff.io.dataset import opened, read_opaque, read_stored
from sciddiff.io.masks import validity
from sciddiff.io.profile import RasterProfile, Source, compose

EXACT = 1e-6


class Hidden(NamedTuple):
    """A window of a source as it stands in the file."""

    stored: NDArray[Any]
    valid: NDArray[np.bool_]
    opaque: NDArray[Any] | None


@dataclass(frozen=True)
class Under:
    """Looks up in the source of a profile what stands under the invalid pixels of an image on another crop of it."""

    source: Source
    profile: RasterProfile
    row: int
    col: int

    @classmethod
    def of(cls, profile: RasterProfile, grid: GeoBox) -> "Under | None":
        """Return the look-up, or None if the source is gone, changed, or on other pixels, or can hide nothing.

        Parameters
        ----------
        profile
            As read from the source.
        grid
            Of the raster to be written.
        """
        source = profile.source
        hides = profile.mask or profile.alpha is not None or np.dtype(profile.dtype).kind == "f"
        if source is None or not hides or source.transform.is_degenerate or not _unchanged(source):
            return None
        shift = compose(~source.transform, grid.affine)
        row, col = round(shift.f), round(shift.c)
        if not shift.almost_equals(Affine.translation(col, row), precision=EXACT):
            return None
        return cls(source, profile, row, col)

    def read(self, window: Window, valid: NDArray[np.bool_]) -> Hidden | None:
        """Return the source under a window; None if all of it is valid and nothing is half opaque, or it lies outside.

        Parameters
        ----------
        window
            Of the raster to be written.
        valid
            (c, h, w), of that window.
        """
        hides = self.profile.mask or self.profile.alpha is not None
        if valid.all() and not hides:
            return None
        there = Window(window.col_off + self.col, window.row_off + self.row, window.width, window.height)
        with opened(self.source.path) as src:
            inside = there.row_off >= 0 and there.row_off + there.height <= src.height
            if not inside or there.col_off < 0 or there.col_off + there.width > src.width:
                return None
            stored = read_stored(src, self.source.indexes, there, dtype=self.profile.dtype)
            opaque = read_opaque(src, self.profile, self.source.alpha, there)
        nodata = [band.nodata for band in self.profile.bands]
        return Hidden(stored, validity(stored, nodata=nodata, opaque=None if opaque is None else opaque > 0), opaque)


def _unchanged(source: Source) -> bool:
    try:
        stat = os.stat(source.path)
    except OSError:
        return False
    return (stat.st_size, stat.st_mtime_ns) == (source.size, source.modified)
