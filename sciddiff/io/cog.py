"""Cloud-optimised GeoTIFF by GDAL's copy, checked by reading every pixel back, and moved to its path when whole.

The compression is DEFLATE: every TIFF reader of the last twenty years has it, where ZSTD needs a recent libtiff built
with it.
"""

import logging
import os
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError
from rasterio.io import MemoryFile
from rasterio.windows import Window

from sciddiff.errors import InputError, OptionError, OutputError
from sciddiff.io.bandtags import packed, unpack
from sciddiff.io.dataset import opened, reason
from sciddiff.io.metadata import differences, file_bands, gcps_of, gdal, quiet, read_profile, write_profile
from sciddiff.io.profile import RasterProfile, RasterWarning
from sciddiff.io.target import SIDECARS, beside, refuse_path, sync

LEVEL = "4"
"""Of DEFLATE: after the predictor GDAL's 6 takes twice the time, for a file that is no smaller."""
LOSSY = ("JPEG", "WEBP", "LERC", "JXL")


def checksum(pixels: NDArray[Any], mask: NDArray[np.uint8] | None) -> int:
    """Return the CRC-32 of a stored window, (bands, h, w), and of its mask, (h, w).

    Parameters
    ----------
    pixels, mask
        See `stored.Stored`.
    """
    return checksums(pixels, mask)[1]


def checksums(pixels: NDArray[Any], mask: NDArray[np.uint8] | None) -> tuple[int, int]:
    """Return the CRC-32 of a stored window without its mask, and with it; see `checksum`.

    Parameters
    ----------
    pixels, mask
        See `stored.Stored`.
    """
    crc = zlib.crc32(np.ascontiguousarray(pixels).data)
    return crc, crc if mask is None else zlib.crc32(np.ascontiguousarray(mask).data, crc)


@contextmanager
def guarded(path: Path) -> Iterator[None]:
    """Turn what goes wrong in writing into an OutputError that names the file.

    Parameters
    ----------
    path
        Of the output.
    """
    try:
        with gdal(GDAL_TIFF_INTERNAL_MASK=True), quiet():
            yield
    except (RasterioError, CPLE_BaseError, OSError, ValueError) as error:
        raise OutputError(f"{path}: cannot be written: {reason(error)}") from error


def create(path: Path, profile: RasterProfile, grid: GeoBox, *, provenance: Mapping[str, str] | None) -> Any:
    """Return an open GeoTIFF that says everything but its pixels, none of which takes room before it is written.

    Parameters
    ----------
    path
        Of the GeoTIFF.
    profile
        As the file can say it.
    grid
        Of the raster.
    provenance
        Goes to the tag namespace SCIDDIFF.
    """
    height, width = grid.shape
    side = block_side(profile)
    creation: dict[str, Any] = {
        "driver": "GTiff",
        "height": height,
        "width": width,
        "count": len(file_bands(profile)),
        "dtype": profile.dtype,
        "nodata": profile.nodata,
        "tiled": True,
        "blockxsize": side,
        "blockysize": side,
        "bigtiff": "IF_SAFER",
        "interleave": "band",
        "sparse_ok": True,
    }
    if any(band.colormap for band in profile.bands):
        creation["photometric"] = "palette"
    if not profile.gcps:
        creation["crs"] = profile.crs_wkt
        creation |= {} if grid.affine.is_identity else {"transform": grid.affine}
    dst = rasterio.open(path, "w", **creation)
    write_profile(dst, packed(profile), provenance=dict(provenance or {}))
    return dst


def settle_gcps(path: Path, profile: RasterProfile) -> None:
    """Undo the shift that GDAL gives GCPs in writing a raster whose pixels are points.

    Parameters
    ----------
    path
        Of a closed GeoTIFF.
    profile
        That it was to say.
    """
    if not profile.gcps:
        return
    with quiet(), rasterio.open(path) as src:
        shift = profile.gcps[0].row - src.gcps[0][0].row
    if shift:
        with quiet(), rasterio.open(path, "r+") as dst:
            dst.gcps = gcps_of(profile, shift=shift)


def copy(source: Any, path: Path, profile: RasterProfile, *, options: Mapping[str, str]) -> None:
    """Write a cloud-optimised GeoTIFF with overviews.

    Parameters
    ----------
    source
        Open dataset or path of a raster that says what `profile` does, its band tags packed.
    path
        Of the copy.
    profile
        Not packed.
    options
        Of GDAL's COG driver, over the defaults.
    """
    with quiet():
        rasterio.shutil.copy(source, str(path), driver="COG", **copy_options(profile, options))
    unpack(path, profile)
    for end in SIDECARS:  # what only fits beside the file would get lost in the renaming: better named as lost now
        beside(path, end).unlink(missing_ok=True)


def verify(
    path: Path,
    profile: RasterProfile,
    windows: Iterable[tuple[Window, int]],
    *,
    name: Path,
    options: Mapping[str, str],
    stop: Callable[[], None] = lambda: None,
) -> None:
    """Read everything back: each window as it was written, and all that the profile says.

    Parameters
    ----------
    path
        Of the copy.
    profile
        That it should have; what GeoTIFF could not keep is named in a warning.
    windows
        With the checksum of each.
    name
        What the file will be called, for messages.
    options
        That the copy was made with.
    stop
        Called before each window; may raise.

    Raises
    ------
    OutputError
        A window reads back differently, or GDAL ignored the compression.
    """
    asked = copy_options(profile, options)["COMPRESS"].upper()
    lossy = asked.startswith(LOSSY) or "NBITS" in options
    try:
        with opened(str(path)) as src:
            compression = src.tags(ns="IMAGE_STRUCTURE").get("COMPRESSION", "NONE").upper()
            if asked not in compression:
                raise OutputError(f"{name}: GDAL does not know COMPRESS={asked}: nothing is kept")
            for window, crc in windows if not lossy else ():
                stop()
                mask = src.read_masks(1, window=window) if profile.mask else None
                if checksum(src.read(window=window), mask) != crc:
                    where = f"row {window.row_off}, column {window.col_off}"
                    raise OutputError(f"{name}: pixels at {where} read back differently: nothing is kept")
            named = [index for index in src.indexes if profile.alpha is None or index != profile.alpha_at + 1]
            lost = differences(profile, read_profile(src, str(path), bands=named))
    except InputError as error:
        raise OutputError(f"{name}: cannot be read back: {error}") from error
    if lost:
        warnings.warn(f"{name.name}: GeoTIFF cannot keep {', '.join(lost)}", RasterWarning, stacklevel=3)


def publish(whole: Path, path: Path, *, overwrite: bool) -> None:
    """Move a whole file to its path, safe against a power cut.

    Parameters
    ----------
    whole
        On the same disk as `path`.
    path
        Of the output.
    overwrite
        Whether a file there may be replaced.
    """
    sync(whole)
    refuse_path(path, overwrite=overwrite)
    os.replace(whole, path)
    for end in SIDECARS:  # of the file that was here before
        beside(path, end).unlink(missing_ok=True)
    if os.name == "posix":  # elsewhere folders cannot be opened
        sync(path.parent)


def report(profile: RasterProfile, *, name: str, clipped: int, partly: bool, masked: bool) -> None:
    """Warn of what happened to pixels.

    Parameters
    ----------
    profile
        That was asked for.
    name
        Of the file.
    clipped, partly
        See `stored.Stored`.
    masked
        A mask was added that the profile does not have.
    """
    said = []
    if clipped:
        said.append(f"{clipped} values were clipped to the range of {profile.dtype}")
    if partly:
        said.append("pixels invalid in only some bands are masked in all: there is no nodata value")
    if masked:
        said.append("has invalid pixels and no nodata value: a mask is written")
    for what in said:
        warnings.warn(f"{name}: {what}", RasterWarning, stacklevel=3)


def block_side(profile: RasterProfile) -> int:
    """Return the side of the blocks: that of the source where it is square, as a COG's must be.

    Parameters
    ----------
    profile
        Of the source.
    """
    height, width = profile.block
    return height if height == width and height % 16 == 0 and 128 <= height <= 4096 else 512


def refuse_options(path: Path, profile: RasterProfile, options: Mapping[str, str]) -> None:
    """Raise if GDAL's COG driver does not know an option, or cannot write such pixels with it: tried on a few pixels.

    Parameters
    ----------
    path
        Of the output, for messages.
    profile
        Of the file.
    options
        The user's, in upper case.

    Raises
    ------
    OptionError
        It does not.
    """
    if not options:
        return
    chosen = copy_options(profile, options)
    side = chosen["BLOCKSIZE"]
    if not side.isdecimal() or int(side) < 128 or int(side) % 16:
        raise OptionError(f"--co BLOCKSIZE={side}: expected a multiple of 16 from 128 on")
    pixels = np.ones((len(file_bands(profile)), 16, 16), profile.dtype)
    layout = {"driver": "GTiff", "count": len(pixels), "height": 16, "width": 16, "dtype": profile.dtype}
    try:
        with gdal(), quiet(), _complaints() as said, MemoryFile() as source, MemoryFile() as target:
            with source.open(**layout) as dst:
                dst.write(pixels)
            rasterio.shutil.copy(source.name, target.name, driver="COG", **{**chosen, "NUM_THREADS": "1"})
            with target.open() as src:
                src.read()
    except (RasterioError, CPLE_BaseError, ValueError) as error:
        given = ", ".join(f"{name}={text}" for name, text in options.items())
        raise OptionError(
            f"{path}: GDAL cannot write {profile.dtype} pixels with --co {given}: {reason(error)}"
        ) from error
    if said:
        raise OptionError(f"{path}: --co: {said[0]}")


@contextmanager
def _complaints() -> Iterator[list[str]]:
    """What GDAL warns of creation options."""
    said: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            text = record.getMessage()
            if "creation option" in text:
                said.append(text.partition(" in ")[2])

    log, listener = logging.getLogger("rasterio._env"), Listener(logging.WARNING)
    log.addHandler(listener)
    try:
        yield said
    finally:
        log.removeHandler(listener)


def copy_options(profile: RasterProfile, options: Mapping[str, str]) -> dict[str, str]:
    """Return creation options of GDAL's COG driver.

    Parameters
    ----------
    profile
        Of the file.
    options
        The user's.
    """
    palette = any(band.colormap for band in profile.bands)
    chosen = {
        "COMPRESS": "DEFLATE",
        "BLOCKSIZE": str(block_side(profile)),
        "OVERVIEW_RESAMPLING": "NEAREST" if palette else "AVERAGE",
        "BIGTIFF": "IF_SAFER",
        "COPY_SRC_MDD": "YES",
        "NUM_THREADS": "ALL_CPUS",
        **options,
    }
    if chosen["COMPRESS"].upper() in {"DEFLATE", "LZW", "ZSTD"}:
        chosen.setdefault("PREDICTOR", "YES")  # GDAL takes that of floats for floats
    if chosen["COMPRESS"].upper() == "DEFLATE":
        chosen.setdefault("LEVEL", LEVEL)
    return chosen
