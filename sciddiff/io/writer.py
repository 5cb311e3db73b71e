"""Writing rasters: bounded memory, every pixel verified, and either the whole file at its path or nothing.

Pixels go to an uncompressed tiled GeoTIFF in a temporary folder beside the output, which is then copied to a
cloud-optimised GeoTIFF (the COG driver opened for writing would hold the raster in memory), re-read, synced and
renamed. The compression is DEFLATE: every TIFF reader of the last twenty years has it, where ZSTD needs a recent
libtiff built with it.
"""

import os
import shutil
import tempfile
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError
from rasterio.windows import Window

from sciddiff.errors import InputError, OutputError
from sciddiff.io.bandtags import packed, unpack
from sciddiff.io.metadata import differences, file_bands, gcps_of, gdal, quiet, read_profile, write_profile
from sciddiff.io.profile import RasterProfile, RasterWarning, plain_profile
from sciddiff.io.radiometry import encode
from sciddiff.io.raster import opened, reason
from sciddiff.io.target import SIDECARS, beside, fitting, opaque_number, refuse_disk, refuse_path, sync
from sciddiff.io.under import Under

LOSSY = ("JPEG", "WEBP", "LERC", "JXL")
OPAQUE = 255


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
    Integers are rounded and clipped, never wrapped; clipping is warned of. Invalid pixels get nodata, else NaN; alpha
    and mask are 0 where all bands are invalid, or, if the file has nothing else to say it with, where any band is.
    An integer raster that has nothing gets a mask at the first invalid pixel, with a warning.

    What stands *under* invalid pixels is taken from the source of the profile, as long as that file is unchanged, on
    the same pixels, and invalid there too: so that opening and saving changes no bit. Elsewhere it is nodata or 0.
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
        self.under = Under.of(chosen, grid)
        self.profile = fitting(chosen, grid)
        self._nodata = self.profile.nodata
        self._mask = self.profile.mask
        self._windows: list[tuple[Window, int, bool]] = []
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
            with self._guarded():
                self._dst = rasterio.open(self._work, "w", **self._creation())
                write_profile(self._dst, packed(self.profile), provenance=self.provenance)
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                with self._guarded():
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
        known = np.isfinite(values) & valid
        with self._guarded():
            stored, opaque = self._stored(values, known, window)
            self._put(stored, opaque, window)

    def _stored(
        self, values: NDArray[np.floating], valid: NDArray[np.bool_], window: Window
    ) -> tuple[NDArray[Any], NDArray[Any] | None]:
        """Numbers of all bands of the file, and the mask, with what stands under invalid pixels."""
        dtype = self.profile.dtype
        stored = np.empty(values.shape, dtype)
        for at, item in enumerate(self.profile.radiometry):
            stored[at], clipped = encode(values[at], valid[at], radiometry=item, dtype=dtype, nodata=self._nodata)
            self._clipped += clipped
        opaque = self._opaque(valid)
        under = self.under.read(window, valid) if self.under is not None else None
        if under is not None:
            hidden = ~valid & ~under.valid
            stored[hidden] = under.stored[hidden]
            if opaque is not None and under.opaque is not None:
                opaque = np.where((valid == under.valid).all(axis=0), under.opaque, opaque)
        if self.profile.alpha is None:
            return stored, opaque
        alpha = opaque if opaque is not None else np.full(window_shape(window), OPAQUE)
        return np.insert(stored, self.profile.alpha_at, alpha.astype(dtype), axis=0), opaque

    def _opaque(self, valid: NDArray[np.bool_]) -> NDArray[Any] | None:
        """Alpha or mask of a window, if there is either or must be."""
        said = self.profile.alpha is not None or self._mask
        spoken = self._nodata is not None or np.dtype(self.profile.dtype).kind == "f"
        if not said:
            if spoken or valid.all():
                return None
            self._begin_mask()
        shown = valid.any(axis=0) if spoken else valid.all(axis=0)
        self._partly |= bool((shown != valid.any(axis=0)).any())
        top = OPAQUE if self.profile.alpha is None else opaque_number(self.profile.dtype)
        return np.where(shown, top, 0).astype(np.uint8 if self.profile.alpha is None else self.profile.dtype)

    def _begin_mask(self) -> None:
        """Give a raster a mask after the fact; what was written until now was valid."""
        message = f"{self.path.name}: has invalid pixels and no nodata value: a mask is written"
        warnings.warn(message, RasterWarning, stacklevel=5)
        self._mask = True
        self.profile = replace(self.profile, mask=True)
        earlier, self._windows = self._windows, []
        for window, crc, _ in earlier:
            mask = np.full(window_shape(window), OPAQUE, np.uint8)
            self._dst.write_mask(mask, window=window)
            self._windows.append((window, zlib.crc32(mask.tobytes(), crc), True))

    def _put(self, stored: NDArray[Any], opaque: NDArray[Any] | None, window: Window) -> None:
        self._dst.write(stored, window=window)
        crc = zlib.crc32(np.ascontiguousarray(stored).tobytes())
        if self._mask:
            whole = np.full(window_shape(window), OPAQUE, np.uint8)
            mask = whole if opaque is None else np.where(opaque > 0, whole, 0).astype(np.uint8)
            self._dst.write_mask(mask, window=window)
            crc = zlib.crc32(mask.tobytes(), crc)
        self._windows.append((window, crc, self._mask))

    def _finish(self) -> None:
        written = sum(window.width * window.height for window, _, _ in self._windows)
        height, width = self.grid.shape
        if written != height * width:
            raise OutputError(f"{self.path}: {written} pixels were written of {height * width}: nothing is kept")
        self._dst.close()
        self._dst = None
        self._settle_gcps()
        with quiet():
            rasterio.shutil.copy(str(self._work), str(self._final), driver="COG", **self._options())
        unpack(self._final, self.profile)
        for end in SIDECARS:  # what only fits beside the file would get lost in the renaming: better named as lost now
            beside(self._final, end).unlink(missing_ok=True)
        self._verify()
        sync(self._final)
        refuse_path(self.path, overwrite=self.overwrite)
        os.replace(self._final, self.path)
        for end in SIDECARS:  # of the file that was here before
            beside(self.path, end).unlink(missing_ok=True)
        if os.name == "posix":  # elsewhere folders cannot be opened
            sync(self.path.parent)
        self._report()

    def _settle_gcps(self) -> None:
        """Undo the shift that GDAL gives GCPs in writing a raster whose pixels are points."""
        if not self.profile.gcps:
            return
        with quiet(), rasterio.open(self._work) as src:
            shift = self.profile.gcps[0].row - src.gcps[0][0].row
        if shift:
            with quiet(), rasterio.open(self._work, "r+") as dst:
                dst.gcps = gcps_of(self.profile, shift=shift)

    def _verify(self) -> None:
        """Read everything back: each window as it was written, and all that the profile says."""
        try:
            lost = self._read_back()
        except InputError as error:
            raise OutputError(f"{self.path}: cannot be read back: {error}") from error
        if lost:
            message = f"{self.path.name}: GeoTIFF cannot keep {', '.join(lost)}"
            warnings.warn(message, RasterWarning, stacklevel=5)

    def _read_back(self) -> list[str]:
        asked = self._options()["COMPRESS"].upper()
        lossy = asked.startswith(LOSSY) or "NBITS" in self.options
        with opened(str(self._final)) as src:
            compression = src.tags(ns="IMAGE_STRUCTURE").get("COMPRESSION", "NONE").upper()
            if asked not in compression:
                raise OutputError(f"{self.path}: GDAL does not know COMPRESS={asked}: nothing is kept")
            for window, crc, masked in self._windows:
                found = zlib.crc32(src.read(window=window).tobytes())
                if masked:
                    found = zlib.crc32(src.read_masks(1, window=window).tobytes(), found)
                if found != crc and not lossy:
                    where = f"row {window.row_off}, column {window.col_off}"
                    raise OutputError(f"{self.path}: pixels at {where} read back differently: nothing is kept")
            named = [index for index in src.indexes if self.profile.alpha is None or index != self.profile.alpha_at + 1]
            return differences(self.profile, read_profile(src, str(self._final), bands=named))

    def _report(self) -> None:
        if self._clipped:
            message = f"{self.path.name}: {self._clipped} values were clipped to the range of {self.profile.dtype}"
            warnings.warn(message, RasterWarning, stacklevel=5)
        if self._partly:
            message = f"{self.path.name}: pixels invalid in only some bands are masked in all: there is no nodata value"
            warnings.warn(message, RasterWarning, stacklevel=5)

    @property
    def _work(self) -> Path:
        return self._at("work.tif")

    @property
    def _final(self) -> Path:
        return self._at("final.tif")

    def _at(self, name: str) -> Path:
        if self._folder is None:
            raise OutputError(f"{self.path}: not open for writing; use the writer in a with statement")
        return self._folder / name

    def _bytes(self) -> int:
        height, width = self.grid.shape
        return height * width * len(file_bands(self.profile)) * np.dtype(self.profile.dtype).itemsize

    def _block(self) -> int:
        """Side of the blocks: that of the source where it is square, as a COG's must be."""
        height, width = self.profile.block
        return height if height == width and height % 16 == 0 and 128 <= height <= 4096 else 512

    def _creation(self) -> dict[str, Any]:
        height, width = self.grid.shape
        side = self._block()
        creation = {
            "driver": "GTiff",
            "height": height,
            "width": width,
            "count": len(file_bands(self.profile)),
            "dtype": self.profile.dtype,
            "nodata": self._nodata,
            "tiled": True,
            "blockxsize": side,
            "blockysize": side,
            "bigtiff": "IF_SAFER",
            "interleave": "band",
        }
        if any(band.colormap for band in self.profile.bands):
            creation["photometric"] = "palette"
        if not self.profile.gcps:
            creation |= {"transform": self.grid.affine, "crs": self.profile.crs_wkt}
        if self.grid.affine.is_identity:
            creation.pop("transform", None)
        return creation

    def _options(self) -> dict[str, str]:
        palette = any(band.colormap for band in self.profile.bands)
        chosen = {
            "COMPRESS": "DEFLATE",
            "BLOCKSIZE": str(self._block()),
            "OVERVIEW_RESAMPLING": "NEAREST" if palette else "AVERAGE",
            "BIGTIFF": "IF_SAFER",
            "COPY_SRC_MDD": "YES",
            "NUM_THREADS": "ALL_CPUS",
            **self.options,
        }
        if chosen["COMPRESS"].upper() in {"DEFLATE", "LZW", "ZSTD"}:
            chosen.setdefault("PREDICTOR", "YES")  # GDAL takes that of floats for floats
        return chosen

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            with gdal(GDAL_TIFF_INTERNAL_MASK=True), quiet():
                yield
        except (RasterioError, CPLE_BaseError, OSError, ValueError) as error:
            raise OutputError(f"{self.path}: cannot be written: {reason(error)}") from error

    def _remove(self) -> None:
        if self._dst is not None:
            dst, self._dst = self._dst, None
            with quiet(), suppress(RasterioError, CPLE_BaseError):
                dst.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


def window_shape(window: Window) -> tuple[int, int]:
    """Return height and width.

    Parameters
    ----------
    window
        Of whole pixels.
    """
    return int(window.height), int(window.width)
