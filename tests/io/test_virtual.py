"""A Zarr array as a raster for GDAL: the same pixels, decoded once to copy them and once for overviews."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from sciddiff import io
from sciddiff.io import cog
from sciddiff.io.profile import RasterProfile
from sciddiff.io.virtual import virtual_raster

SHAPE = (4, 1100, 3100)


class Counted:
    """An array that counts the pixels that are asked for."""

    def __init__(self, values: NDArray[Any]) -> None:
        self.values, self.shape, self.dtype, self.decoded = values, values.shape, values.dtype, 0

    def __getitem__(self, key: Any) -> NDArray[Any]:
        part: NDArray[Any] = self.values[key]
        self.decoded += part.size
        return part


def profile_of(path: Path, grid: GeoBox) -> RasterProfile:
    """That of a GeoTIFF of four bands."""
    with rasterio.open(
        path, "w", driver="GTiff", dtype="uint16", count=4, height=8, width=8, crs=grid.crs, transform=grid.affine
    ) as file:
        file.write(np.ones((4, 8, 8), np.uint16))
    profile: RasterProfile = io.open(path).encoding["raster"]
    return profile


@pytest.mark.parametrize("chunk", [96, 512, 600, 1024])
def test_a_copy_with_overviews_decodes_no_pixel_more_than_twice(tmp_path: Path, chunk: int) -> None:
    grid = GeoBox(SHAPE[1:], Affine(10, 0, 5e5, 0, -10, 5e6), "EPSG:32631")
    profile = profile_of(tmp_path / "like.tif", grid)
    pixels = Counted(np.random.default_rng(0).integers(1, 255, SHAPE, np.uint16))
    template, copy = tmp_path / "template.tif", tmp_path / "copy.tif"
    cog.create(template, profile, grid, provenance={}).close()
    with virtual_raster(template, pixels, None, chunk=chunk, profile=profile, provenance={}) as source:
        cog.copy(source, copy, profile, options={})
    with rasterio.open(copy) as file:
        np.testing.assert_array_equal(file.read(), pixels.values)
        assert file.overviews(1)
    assert pixels.decoded <= 2 * pixels.values.size
