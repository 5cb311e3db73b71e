"""Writing rasters window by window in bounded memory: the whole file at its path, every pixel verified, or nothing.

Pixels go to an uncompressed tiled GeoTIFF in a temporary folder beside the output, which is then copied to a
cloud-optimised GeoTIFF (the COG driver opened for writing would hold the raster in memory), re-read, synced and
renamed.
"""

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError
from rasterio.windows import Window

from sciddiff.errors import OutputError
from sciddiff.io import cog
from sciddiff.io.metadata import file_bands, quiet
from sciddiff.io.profile import RasterProfile, plain_profile
from sciddiff.io.stored import OPAQUE, Encoder
from sciddiff.io.target import refuse_disk, refuse_path


class RasterWriter:
    """Writes a raster window by window, as a context manager: whole and verified at its end, or absent.

    Parameters
    ----------
    path
        A .tif that will be a cloud-optimised GeoTIFF.
    grid
        Pixel grid of the raster.
    bands
        Names of its bands.
    profile
        Of the image that it comes from, on that image's grid; what belongs to a grid (GCPs, RPCs) is moved to this
        one. None: float32 with NaN as nodata.
    dtype
        Type to store; None: that of the profile.
    overwrite
        Replace what is there.
    creation_options
        Of GDAL's COG driver, over the defaults.
    provenance
        Goes to the tag namespace SCIDDIFF.

    Raises
    ------
    OutputExistsError
        The path exists and `overwrite` is not set.
    OutputError
        The folder cannot be written to, the disk is full, windows are missing, or what was read back is not what was
        written.

    Notes
    -----
    How values become stored numbers is said at `stored.Encoder`; clipping is warned of. An integer raster that has
    nothing to say it with gets a mask at the first invalid pixel, with a warning.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        grid: GeoBox,
        bands: Sequence[str],
        profile: RasterProfile | None = None,
        dtype: str | None = None,
        overwrite: bool = False,
        creation_options: Mapping[str, str] | None = None,
        provenance: dict[str, str] | None = None,
    ) -> None:
        self.path = Path(path).absolute()
        self.grid = grid
        self.overwrite = overwrite
        self.options = {key.upper(): str(option) for key, option in (creation_options or {}).items()}
        self.provenance = provenance
        refuse_path(self.path, overwrite=overwrite)
        chosen = plain_profile(bands, dtype=dtype or "float32") if profile is None else profile.select(list(bands))
        chosen = chosen if dtype is None else chosen.with_dtype(dtype)
        self.encoder = Encoder.of(chosen, grid)
        self.profile = self.encoder.profile
        self._masked = self.profile.mask
        self._windows: list[tuple[Window, int, int]] = []
        self._clipped = 0
        self._partly = False
        self._folder: Path | None = None
        self._dst: Any = None

    def __enter__(self) -> Self:
        try:
            self._folder = Path(tempfile.mkdtemp(prefix=f".{self.path.name}.", suffix=".tmp", dir=self.path.parent))
        except OSError as error:
            raise OutputError(f"{self.path}: the folder cannot be written to: {error.strerror}") from error
        try:
            refuse_disk(self.path, self._bytes())
            with cog.guarded(self.path):
                self._dst = cog.create(self._at("work.tif"), self.profile, self.grid, provenance=self.provenance)
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                with cog.guarded(self.path):
                    self._finish()
        finally:
            self._remove()

    def write(self, values: NDArray[np.floating], valid: NDArray[np.bool_], row: int, col: int) -> None:
        """Write a window. Windows must cover the raster, each pixel once, in any order.

        Parameters
        ----------
        values
            (c, h, w), physical.
        valid
            Broadcast against (c, h, w); what is not finite is invalid whatever it says.
        row, col
            Of the window's first pixel.

        Raises
        ------
        OutputError
            The window does not fit the raster, or cannot be written.
        """
        if self._dst is None:
            raise OutputError(f"{self.path}: not open for writing; use the writer in a with statement")
        window = Window(col, row, values.shape[-1], values.shape[-2])
        expected = (len(self.profile.bands), window.height, window.width)
        inside = row >= 0 and col >= 0 and row + window.height <= self.grid.shape[0]
        if values.shape != expected or not inside or col + window.width > self.grid.shape[1]:
            message = f"{self.path}: a window of shape {values.shape} at row {row}, column {col} does not fit"
            raise OutputError(f"{message} {expected[0]} bands of {self.grid.shape} pixels")
        with cog.guarded(self.path):
            pixels, mask, clipped, partly = self.encoder.encode(values, valid, row=row, col=col)
            self._clipped += clipped
            self._partly |= partly
            self._dst.write(pixels, window=window)
            if mask is not None and not self._masked and not mask.all():
                self._begin_mask()
            if mask is not None and self._masked:
                self._dst.write_mask(mask, window=window)
            self._windows.append((window, cog.checksum(pixels, None), cog.checksum(pixels, mask)))

    def _begin_mask(self) -> None:
        """Give a raster a mask after the fact; what was written until now was valid."""
        self._masked = True
        for window, _, _ in self._windows:
            self._dst.write_mask(np.full((window.height, window.width), OPAQUE, np.uint8), window=window)

    def _finish(self) -> None:
        written = sum(window.width * window.height for window, _, _ in self._windows)
        height, width = self.grid.shape
        if written != height * width:
            raise OutputError(f"{self.path}: {written} pixels were written of {height * width}: nothing is kept")
        self._dst.close()
        self._dst = None
        work, final = self._at("work.tif"), self._at("final.tif")
        cog.settle_gcps(work, self.profile)
        profile = replace(self.profile, mask=self._masked)
        windows = ((window, masked if self._masked else plain) for window, plain, masked in self._windows)
        cog.copy(str(work), final, profile, options=self.options)
        cog.verify(final, profile, windows, name=self.path, options=self.options)
        cog.publish(final, self.path, overwrite=self.overwrite)
        added = self._masked and not self.profile.mask
        cog.report(profile, name=self.path.name, clipped=self._clipped, partly=self._partly, masked=added)

    def _at(self, name: str) -> Path:
        if self._folder is None:
            raise OutputError(f"{self.path}: not open for writing; use the writer in a with statement")
        return self._folder / name

    def _bytes(self) -> int:
        height, width = self.grid.shape
        return height * width * len(file_bands(self.profile)) * np.dtype(self.profile.dtype).itemsize

    def _remove(self) -> None:
        if self._dst is not None:
            dst, self._dst = self._dst, None
            with quiet(), suppress(RasterioError, CPLE_BaseError):
                dst.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
