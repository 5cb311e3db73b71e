"""A Zarr array as a raster that GDAL can read: a VRT whose pixels are decoded when GDAL asks for them.

GDAL's COG driver copies from a raster. Writing the array to one first would take its room on disk twice; so GDAL is
given files that exist nowhere: `product.vrt`, which has all metadata of a template, and under it uncompressed BigTIFFs
whose tiles are decoded when they are read.
"""

import io
import math
import re
import struct
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from rasterio.windows import Window

from sciddiff.io.bandtags import packed
from sciddiff.io.metadata import gdal, quiet, write_profile
from sciddiff.io.profile import RasterProfile

TILE = 512
"""Side of the virtual tiles."""
CHUNK_BYTES = 2**24
"""Above GDAL's GDAL_OVR_CHUNK_MAX_SIZE of 10 MB, in whole blocks."""


class Pixels(Protocol):
    """A Zarr array, or what behaves like one."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __getitem__(self, key: Any) -> Any:
        """Return a part as an array."""


@contextmanager
def virtual_raster(
    template: Path,
    pixels: Pixels,
    mask: Pixels | None,
    *,
    chunk: int,
    profile: RasterProfile,
    provenance: Mapping[str, str],
) -> Iterator[Any]:
    """Open an array as a rasterio dataset.

    Parameters
    ----------
    template
        GeoTIFF of the same size, bands and type that says everything but the pixels.
    pixels
        (bands, h, w).
    mask
        (h, w) uint8; the template must have a mask then.
    chunk
        Side of the array's chunks.
    profile, provenance
        What the template says; a copy of it to a VRT forgets some.
    """
    text = _described(template, profile, masked=mask is not None, provenance=provenance)
    files = {"pixels.tif": _Tiff(pixels, chunk)} | ({} if mask is None else {"mask.tif": _Tiff(mask, chunk)})

    def serve(path: str, mode: str = "rb") -> io.IOBase:  # noqa: ARG001 - GDAL gives both
        name = path.rpartition("/")[2]
        if name == "product.vrt":
            return io.BytesIO(text)
        if name not in files:
            raise FileNotFoundError(path)
        return _View(files[name])

    # Files are opened by name only in the thread that opened the raster.
    with gdal(VRT_NUM_THREADS=1), quiet(), rasterio.open("/virtual/product.vrt", opener=serve) as source:
        yield source


def _described(template: Path, profile: RasterProfile, *, masked: bool, provenance: Mapping[str, str]) -> bytes:
    """Return the template as a VRT that reads from the virtual files."""
    vrt = template.with_suffix(".vrt")
    with quiet(), gdal(GDAL_TIFF_INTERNAL_MASK=True):
        if masked:
            with rasterio.open(template, "r+") as dst:
                dst.write_mask(np.full((1, 1), 255, np.uint8), window=Window(0, 0, 1, 1))
        rasterio.shutil.copy(str(template), str(vrt), driver="VRT")
        with rasterio.open(vrt, "r+") as dst:
            write_profile(dst, packed(profile), provenance=dict(provenance))
    text = vrt.read_text()
    vrt.unlink()

    def source(found: re.Match[str]) -> str:
        masks = "<SourceBand>mask" in found[0]
        name, band = ("mask.tif", "1") if masks else ("pixels.tif", r"\g<1>")
        part = re.sub(
            r"<SourceFilename.*?</SourceFilename>",
            f'<SourceFilename relativeToVRT="1">{name}</SourceFilename>',
            found[0],
        )
        return re.sub(r"<SourceBand>(?:mask,)?(.*?)</SourceBand>", f"<SourceBand>{band}</SourceBand>", part)

    return re.sub(r"<(Simple|Complex)Source\b.*?</\1Source>", source, text, flags=re.DOTALL).encode()


class _Tiff:
    """An array as an uncompressed BigTIFF with one plane a band: the header, and tiles made when they are read."""

    def __init__(self, array: Pixels, chunk: int) -> None:
        self.array = array
        self.bands = array.shape[0] if len(array.shape) == 3 else 1
        self.height, self.width = array.shape[-2:]
        self.dtype = np.dtype(array.dtype).newbyteorder("<")
        self.across, self.down = math.ceil(self.width / TILE), math.ceil(self.height / TILE)
        self.tile_bytes = TILE * TILE * self.dtype.itemsize
        self.side = math.ceil(TILE / chunk) * chunk
        self.kept = self._kept()
        self.header = self._header()
        self.size = len(self.header) + self.bands * self.down * self.across * self.tile_bytes
        self._blocks: OrderedDict[tuple[int, int], NDArray[Any]] = OrderedDict()

    def _kept(self) -> int:
        """How many blocks GDAL comes back to: to make overviews it reads chunks band after band, of two by two tiles
        or more; to copy, a row of tiles in all bands, whose blocks reach into the next row unless they end with it."""
        rows = 0 if self.side == TILE else 1 if self.side % TILE == 0 else 2
        block_bytes = self.bands * self.side**2 * self.dtype.itemsize
        return max(4, CHUNK_BYTES // block_bytes, rows * math.ceil(self.width / self.side))

    def _header(self) -> bytes:
        """Return the BigTIFF header and its only directory (TIFF 6.0 and Aware Systems' BigTIFF proposal)."""
        tiles = self.bands * self.down * self.across
        kinds = {"u": 1, "i": 2, "f": 3}
        tags: list[tuple[int, int, list[int]]] = [
            (256, 4, [self.width]),
            (257, 4, [self.height]),
            (258, 3, [8 * self.dtype.itemsize] * self.bands),
            (259, 3, [1]),  # no compression
            (262, 3, [1]),  # black is zero
            (277, 3, [self.bands]),
            (284, 3, [2]),  # plane after plane
            (322, 4, [TILE]),
            (323, 4, [TILE]),
            (324, 16, [0] * tiles),
            (325, 16, [self.tile_bytes] * tiles),
            (338, 3, [0] * (self.bands - 1)),
            (339, 3, [kinds[self.dtype.kind]] * self.bands),
        ]
        tags = [tag for tag in tags if tag[2]]
        formats = {3: "H", 4: "I", 16: "Q"}
        at = 16 + 8 + 20 * len(tags) + 8
        length = at + sum(struct.calcsize(f"<{len(v)}{formats[t]}") for _, t, v in tags)
        entries, values = b"", b""
        for tag, kind, numbers in tags:
            numbers = [length + k * self.tile_bytes for k in range(tiles)] if tag == 324 else numbers
            packed_numbers = struct.pack(f"<{len(numbers)}{formats[kind]}", *numbers)
            inline = len(packed_numbers) <= 8
            place = packed_numbers.ljust(8, b"\0") if inline else struct.pack("<Q", at + len(values))
            values += b"" if inline else packed_numbers
            entries += struct.pack("<HHQ", tag, kind, len(numbers)) + place
        directory = struct.pack("<Q", len(tags)) + entries + struct.pack("<Q", 0)
        return (struct.pack("<2sHHHQ", b"II", 43, 8, 0, 16) + directory + values).ljust(length, b"\0")

    def tile(self, number: int) -> bytes:
        band, place = divmod(number, self.down * self.across)
        row, col = (index * TILE for index in divmod(place, self.across))
        full = np.zeros((TILE, TILE), self.dtype)
        bottom, right = min(row + TILE, self.height), min(col + TILE, self.width)
        for top in range(row - row % self.side, bottom, self.side):
            for left in range(col - col % self.side, right, self.side):
                block = self._block(top, left)[band]
                part = block[max(row - top, 0) : bottom - top, max(col - left, 0) : right - left]
                y, x = max(top - row, 0), max(left - col, 0)
                full[y : y + part.shape[0], x : x + part.shape[1]] = part
        return full.tobytes()

    def _block(self, top: int, left: int) -> NDArray[Any]:
        """A square of whole chunks in all bands, decoded once for all tiles in it."""
        if (top, left) not in self._blocks:
            while len(self._blocks) >= self.kept:
                self._blocks.popitem(last=False)
            part = np.asarray(self.array[..., top : top + self.side, left : left + self.side])
            self._blocks[top, left] = part if part.ndim == 3 else part[None]
        self._blocks.move_to_end((top, left))
        return self._blocks[top, left]

    def read(self, start: int, stop: int) -> bytes:
        parts, head = [self.header[start:stop]], len(self.header)
        while (start := max(start, head)) < stop:
            number, within = divmod(start - head, self.tile_bytes)
            parts.append(self.tile(number)[within : within + stop - start])
            start += len(parts[-1])
        return b"".join(parts)


class _View(io.RawIOBase):
    """A virtual file with a position of its own."""

    def __init__(self, file: _Tiff) -> None:
        self.file, self.at = file, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.at

    def seek(self, offset: int, whence: int = 0) -> int:
        self.at = offset + (0, self.at, self.file.size)[whence]
        return self.at

    def read(self, size: int = -1) -> bytes:
        stop = self.file.size if size < 0 else min(self.at + size, self.file.size)
        found = self.file.read(self.at, stop) if stop > self.at else b""
        self.at += len(found)
        return found
