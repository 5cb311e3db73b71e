"""Images on one grid: whole pixels exactly, other grids by area or by interpolation, apart or unplaced ones refused."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.crs import CRS

from sciddiff import io
from sciddiff.errors import InputError
from sciddiff.io import RasterWarning
from sciddiff.io.align import aligned, offset_of

UTM = CRS.from_epsg(32631)


def raster(path: Path, values: np.ndarray, *, size: float = 10, left: float = 5e5, top: float = 4e6, **more) -> Path:
    shape = {"count": len(values), "height": values.shape[1], "width": values.shape[2], "dtype": values.dtype}
    transform = Affine(size, 0, left, 0, -size, top)
    with rasterio.open(path, "w", **{"driver": "GTiff", "crs": UTM, "transform": transform, **shape, **more}) as file:
        file.write(values)
    return path


@pytest.fixture
def numbers() -> np.ndarray:
    return np.random.default_rng(0).integers(1, 9000, (2, 40, 60)).astype("uint16")


def read(image: xr.DataArray) -> tuple[np.ndarray, np.ndarray]:
    return io.read_window(image, slice(None), slice(None))


@pytest.mark.parametrize("more", [{}, {"nodata": 0}])
def test_whole_pixels_are_moved_and_what_lies_outside_is_invalid(tmp_path: Path, numbers: np.ndarray, more: dict):
    numbers[:, 5, 7] = 0
    image = io.open(raster(tmp_path / "a.tif", numbers, **more))
    grid = GeoBox((50, 50), Affine(10, 0, 5e5 + 200, 0, -10, 4e6 + 50), UTM)
    assert offset_of(image, grid) == (-5, 20)
    values, valid = read(aligned(image, grid))
    assert not valid[:, :5].any()
    assert not valid[:, 45:].any()
    assert not valid[:, :, 40:].any()
    expected, known = read(image)
    assert np.array_equal(values[:, 5:45, :40], expected[:, :, 20:], equal_nan=True)
    assert np.array_equal(valid[:, 5:45, :40], known[:, :, 20:])


def test_the_same_grid_is_the_same_image(tmp_path: Path, numbers: np.ndarray):
    image = io.open(raster(tmp_path / "a.tif", numbers))
    assert aligned(image, io.grid_of(image)) is image


def test_averaging_weighs_by_area_where_grids_are_half_a_pixel_apart(tmp_path: Path, numbers: np.ndarray):
    fine = io.open(raster(tmp_path / "fine.tif", numbers.astype("float32"), size=15))
    grid = GeoBox((15, 25), Affine(30, 0, 5e5 + 37.5, 0, -30, 4e6 - 37.5), UTM)
    values, valid = read(aligned(fine, grid, resampling="average"))
    assert valid.all()
    line = np.array([0.25, 0.5, 0.25])
    block = np.einsum("i,j,cij->c", line, line, numbers[:, 4:7, 6:9].astype(float))
    assert np.allclose(values[:, 1, 2], block, rtol=1e-5)


def test_other_grids_are_interpolated_and_it_is_said(tmp_path: Path):
    plane = np.add.outer(np.arange(40.0), 2 * np.arange(60.0)).astype("float32")[None]
    image = io.open(raster(tmp_path / "a.tif", plane))
    grid = GeoBox((30, 40), Affine(10, 0, 5e5 + 53, 0, -10, 4e6 - 42), UTM)
    with pytest.warns(RasterWarning, match=r"a\.tif is on another grid: it is resampled \(bilinear\)"):
        values, valid = read(aligned(image, grid))
    assert valid.all()
    assert np.allclose(values[0], np.add.outer(np.arange(30) + 4.2, 2 * (np.arange(40) + 5.3)), atol=1e-2)


def test_bands_stay_chosen_and_lazy(tmp_path: Path, numbers: np.ndarray):
    image = io.open(raster(tmp_path / "a.tif", numbers), bands=[2])
    moved = aligned(image, io.grid_of(image)[5:20, 3:30])
    assert np.array_equal(read(moved)[0], read(image)[0][:, 5:20, 3:30])


def test_grids_apart_are_refused(tmp_path: Path, numbers: np.ndarray):
    image = io.open(raster(tmp_path / "a.tif", numbers))
    with pytest.raises(InputError, match="the grids do not overlap: 500000, 3999600, 500600, 4000000 and"):
        aligned(image, GeoBox((10, 10), Affine(10, 0, 6e5, 0, -10, 4e6), UTM))
    with pytest.raises(InputError, match="another has none"):
        aligned(image, GeoBox((10, 10), Affine(10, 0, 5e5, 0, -10, 4e6), None))
    array = io.from_array(numbers, grid=io.grid_of(image), bands=["a", "b"])
    with pytest.raises(InputError, match="give all images on one grid"):
        aligned(array, io.grid_of(image)[1:, 1:])


def test_coordinates_of_no_map_cannot_be_laid_on_a_map(tmp_path: Path, numbers: np.ndarray):
    site = raster(tmp_path / "site.tif", numbers, crs=CRS.from_wkt('LOCAL_CS["site",UNIT["metre",1]]'))
    grid = io.grid_of(io.open(raster(tmp_path / "map.tif", numbers)))
    with pytest.raises(InputError, match="no transformation leads from site to WGS 84 / UTM zone 31N: give"):
        aligned(io.open(site), grid)
