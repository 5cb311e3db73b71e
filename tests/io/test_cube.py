"""NetCDF and Zarr as images: values, grid, names and nodata by the CF conventions, whatever way the rows run."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import xarray as xr
from affine import Affine
from pyproj import CRS

from sciddiff import io
from sciddiff.errors import InputError
from sciddiff.inference import predict_file
from tests.inference.conftest import small_model

UTM = CRS.from_epsg(32631)
HEIGHT, WIDTH = 30, 40


def cube(*, north_up: bool = True, dtype: str = "int16", **attrs: Any) -> xr.Dataset:
    """Two bands with a hole, stored as numbers with scale and offset, on a 10 m grid."""
    numbers = np.random.default_rng(0).integers(500, 9000, (2, HEIGHT, WIDTH)).astype(dtype)
    numbers[:, 3:6, 4:9] = -1
    y = 4e6 - 10 * (np.arange(HEIGHT) + 0.5)
    if not north_up:
        numbers, y = numbers[:, ::-1], y[::-1]
    told = {"scale_factor": 1e-4, "add_offset": -0.1, "_FillValue": np.array(-1, dtype)[()], **attrs}
    return xr.Dataset(
        {
            "reflectance": (("band", "y", "x"), numbers, {**told, "grid_mapping": "crs", "units": "1"}),
            "crs": ((), 0, UTM.to_cf()),
        },
        coords={"band": ["red", "nir"], "y": y, "x": 5e5 + 10 * (np.arange(WIDTH) + 0.5)},
        attrs={"title": "a scene"},
    )


def write(data: xr.Dataset, path: Path) -> Path:
    if path.suffix == ".zarr":
        data.to_zarr(path, zarr_format=2 if "two" in path.name else 3)
    else:
        data.to_netcdf(path, engine="h5netcdf")
    return path


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize("name", ["scene.nc", "scene.zarr", "two.zarr"])
@pytest.mark.parametrize("north_up", [True, False])
def test_a_cube_is_an_image(tmp_path: Path, name: str, north_up: bool) -> None:
    image = io.open(write(cube(north_up=north_up), tmp_path / name))
    assert list(image.band.values) == ["red", "nir"]
    assert io.grid_of(image).affine == Affine(10, 0, 5e5, 0, -10, 4e6)
    assert io.grid_of(image).crs == UTM
    expected = cube()["reflectance"].values
    assert (image.valid.values == (expected[0] != -1)).all()
    assert np.allclose(image.values, np.where(expected == -1, np.nan, expected * 1e-4 - 0.1), equal_nan=True)
    assert io.open(tmp_path / name, bands=["nir"]).shape == (1, HEIGHT, WIDTH)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize("name", ["scene.nc", "scene.zarr"])
def test_a_cube_is_predicted_as_the_same_geotiff_is(tmp_path: Path, name: str) -> None:
    model, path = small_model(), write(cube(), tmp_path / name)
    plain = tmp_path / "plain.tif"
    shape = {"driver": "GTiff", "count": 2, "height": HEIGHT, "width": WIDTH, "dtype": "int16", "nodata": -1}
    with rasterio.open(plain, "w", crs=UTM, transform=Affine(10, 0, 5e5, 0, -10, 4e6), **shape) as file:
        file.write(cube()["reflectance"].values)
        file.descriptions, file.scales, file.offsets = ("red", "nir"), (1e-4, 1e-4), (-0.1, -0.1)
    outputs = [tmp_path / "of_cube.tif", tmp_path / "of_tif.tif"]
    for source, output in zip((path, plain), outputs, strict=True):
        predict_file(model, str(source), output, tile=32)
    of_cube, of_tif = (rasterio.open(output) for output in outputs)
    with of_cube, of_tif:
        assert (of_cube.read() == of_tif.read()).all()
        for field in ("crs", "transform", "nodata", "scales", "offsets", "descriptions", "dtypes"):
            assert getattr(of_cube, field) == getattr(of_tif, field)
        assert of_cube.units == ("1", "1")
        assert of_cube.tags()["title"] == "a scene"


def test_variables_are_bands_where_asked(tmp_path: Path) -> None:
    data = cube()
    parts = {name: data["reflectance"].sel(band=name, drop=True) for name in ("red", "nir")}
    path = write(data.drop_dims("band").assign(parts), tmp_path / "apart.nc")
    image = io.open(f"{path}#nir,red")
    assert list(image.band.values) == ["nir", "red"]
    assert np.array_equal(image.values[1], io.open(f"{path}#red").values[0], equal_nan=True)
    with pytest.raises(InputError, match=r"several variables are images: .*say which: .*apart\.nc#"):
        io.open(path)
    with pytest.raises(InputError, match=r"swir is no variable with axes y and x; there are: .*red"):
        io.open(f"{path}#swir")


def test_degrees_without_a_datum_are_wgs_84(tmp_path: Path) -> None:
    lat, lon = 50 - 0.01 * np.arange(20), 5 + 0.01 * np.arange(30)
    coords = {"lat": ("lat", lat, {"units": "degrees_north"}), "lon": ("lon", lon, {"units": "degrees_east"})}
    values = np.ones((20, 30), "float32")
    path = write(xr.Dataset({"t": (("lat", "lon"), values)}, coords=coords), tmp_path / "globe.nc")
    grid = io.grid_of(io.open(path))
    assert grid.crs is not None
    assert grid.crs.to_epsg() == 4326
    assert grid.affine.almost_equals(Affine(0.01, 0, 4.995, 0, -0.01, 50.005))


def test_what_is_no_image_is_refused_by_name(tmp_path: Path) -> None:
    series = cube()["reflectance"].expand_dims(time=[0, 1]).to_dataset(name="reflectance")
    path = write(series, tmp_path / "series.nc")
    with pytest.raises(InputError, match=r"series\.nc: reflectance has axes .*write one time to a store of its own"):
        io.open(path)
    uneven = cube().isel(band=0).assign_coords(x=np.arange(WIDTH) ** 1.5)
    with pytest.raises(InputError, match=r"uneven\.nc"):
        io.open(write(uneven, tmp_path / "uneven.nc"))
    path = write(cube(), tmp_path / "cut.nc")
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(InputError, match=r"cut\.nc: cannot be opened by xarray|cut\.nc.*truncated"):
        io.open(path).values  # noqa: B018
