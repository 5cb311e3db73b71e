"""Zarr, OME-Zarr and OME-TIFF: what `predict` writes in them comes back as the image that a GeoTIFF would give."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import tifffile
import xarray as xr
import zarr

from sciddiff import io
from sciddiff.errors import InputError, OptionError, OutputError
from sciddiff.inference import predict_file
from sciddiff.io.ome import TYPES, open_ome_tiff
from sciddiff.io.profile_json import profile_from_dict, profile_to_dict
from sciddiff.io.pyramid import add_levels, levels_of
from tests.laws.test_identity import identity_model
from tests.zoo import make_zoo


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        zoo = make_zoo(tmp_path_factory.mktemp("zoo"))
    return {name: path for name, path in zoo.items() if name != "all_invalid"}


def bare(profile: io.RasterProfile) -> dict[str, Any]:
    """All but where it came from, when, and how it was cut."""
    data = {**profile_to_dict(profile), "source": None, "block": None}
    data["tags"].get("SCIDDIFF", {}).pop("TIME", None)
    return data


def same_images(one: xr.DataArray, other: xr.DataArray) -> None:
    assert one.dims == other.dims
    assert np.array_equal(one.values, other.values, equal_nan=True)
    assert one.dtype == other.dtype
    assert (one.valid.values == other.valid.values).all()
    assert list(one.band.values) == list(other.band.values)
    assert io.grid_of(one) == io.grid_of(other)
    assert one.attrs == other.attrs
    assert json.dumps(bare(one.encoding["raster"]), sort_keys=True) == json.dumps(
        bare(other.encoding["raster"]), sort_keys=True
    )


def test_a_profile_goes_through_json_and_back(zoo: dict[str, Path]) -> None:
    for path in zoo.values():
        profile = io.open(path).encoding["raster"]
        back = profile_from_dict(json.loads(json.dumps(profile_to_dict(profile), allow_nan=False)))
        assert repr(back) == repr(profile)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("suffix", [".zarr", ".ome.zarr", ".ome.tif"])
def test_every_raster_comes_back_from_every_format(zoo: dict[str, Path], tmp_path: Path, suffix: str) -> None:
    done = 0
    for name, path in zoo.items():
        dtype = io.open(path).encoding["raster"].dtype
        if suffix == ".ome.tif" and dtype not in TYPES:
            continue
        written, plain = tmp_path / f"{name}{suffix}", tmp_path / f"{name}.tif"
        model = identity_model(path)
        for output in (written, plain):
            predict_file(model, str(path), output, tile=64, command="sciddiff predict")
        same_images(io.open(written), io.open(plain))
        done += 1
    assert done >= 25


@pytest.mark.filterwarnings("error")
def test_xarray_reads_the_zarr_as_values(zoo: dict[str, Path], tmp_path: Path) -> None:
    for name, path in zoo.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            predict_file(identity_model(path), str(path), tmp_path / f"{name}.zarr", tile=64)
        image = io.open(path)
        radiometry = set(image.encoding["raster"].radiometry)
        found = xr.open_zarr(tmp_path / f"{name}.zarr", decode_coords="all")["mean"]
        if len(radiometry) == 1 and image.encoding["raster"].mask_kind in {"nodata", "nan", "nodata+nan", "none"}:
            expected = image.values
            finite = np.where(np.isfinite(found.values), found.values, np.nan)
            np.testing.assert_allclose(finite, expected, rtol=1e-6, equal_nan=True)
        assert "spatial_ref" in found.coords


def test_ome_zarr_keeps_the_rules_of_ngff(tmp_path: Path) -> None:
    path = scene(tmp_path / "scene.tif", height=1300, width=1100)
    predict_file(identity_model(path), str(path), tmp_path / "out.ome.zarr", tile=512)
    group = zarr.open_group(tmp_path / "out.ome.zarr", mode="r")
    ome: Any = group.attrs["ome"]
    assert ome["version"] == "0.5"
    (scale,) = ome["multiscales"]
    assert [axis["name"] for axis in scale["axes"]] == ["c", "y", "x"]
    assert [axis["type"] for axis in scale["axes"]] == ["channel", "space", "space"]
    assert [item["path"] for item in scale["datasets"]] == ["0", "1", "2"]
    shapes = [group[item["path"]].shape for item in scale["datasets"]]
    assert shapes == [(2, 1300, 1100), (2, 650, 550), (2, 325, 275)]
    for level, item in enumerate(scale["datasets"]):
        assert [step["type"] for step in item["coordinateTransformations"]] == ["scale", "translation"]
        assert item["coordinateTransformations"][0]["scale"] == [1, 10 * 2**level, 10 * 2**level]
        assert group[item["path"]].metadata.dimension_names == ("c", "y", "x")
    assert [channel["label"] for channel in ome["omero"]["channels"]] == ["red", "nir"]
    fine = np.asarray(group["0"][:, :20, :20], dtype=float)
    coarse = np.asarray(group["1"][:, :10, :10], dtype=float)
    whole = fine.reshape(2, 10, 2, 10, 2).mean((2, 4))
    assert np.abs(coarse - whole).max() <= 0.5


def test_ome_tiff_is_what_others_read(tmp_path: Path) -> None:
    path = scene(tmp_path / "scene.tif", height=1300, width=1100)
    predict_file(identity_model(path), str(path), tmp_path / "out.ome.tif", tile=512)
    with tifffile.TiffFile(tmp_path / "out.ome.tif") as tiff, rasterio.open(path) as src:
        assert tiff.is_ome
        series = tiff.series[0]
        assert series.axes == "CYX"
        assert [level.shape for level in series.levels] == [(2, 1300, 1100), (2, 650, 550), (2, 325, 275)]
        assert np.array_equal(series.asarray(), src.read())
        assert 'SizeC="2"' in tiff.ome_metadata
        assert 'PhysicalSizeX="10.0"' in tiff.ome_metadata
        assert 'Name="nir"' in tiff.ome_metadata
    assert [file.name for file in tmp_path.glob("*levels*")] == []


def test_ome_tiff_by_others_opens(realdata: Path) -> None:
    path = realdata / "micro" / "hela_3ch_16bit.ome.tif"
    image = io.open(path)
    assert image.shape == (3, 512, 672)
    assert io.grid_of(image).crs is None
    assert abs(io.grid_of(image).resolution.x - 0.0515) < 1e-3
    assert np.array_equal(image.values, tifffile.imread(path))
    window = image.isel(y=slice(10, 20, 3), x=slice(5, 9))
    assert np.array_equal(window.values, tifffile.imread(path)[:, 10:20:3, 5:9])
    with pytest.raises(InputError, match="is no raster written as OME-TIFF"):
        open_ome_tiff(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"QUALITY": "9"}, "takes COMPRESS, LEVEL and BLOCKSIZE"),
        ({"COMPRESS": "JPEG"}, "takes DEFLATE"),
        ({"BLOCKSIZE": "100"}, "a multiple of 16"),
    ],
)
def test_odd_options_are_refused(tmp_path: Path, options: dict[str, str], message: str) -> None:
    path = scene(tmp_path / "scene.tif")
    with pytest.raises(OptionError, match=message):
        predict_file(identity_model(path), str(path), tmp_path / "out.ome.tif", creation_options=options)
    assert not (tmp_path / "out.ome.tif").exists()


@pytest.mark.filterwarnings("ignore")
def test_a_type_that_ome_has_not_is_refused(tmp_path: Path) -> None:
    path, placed = tmp_path / "long.tif", {"crs": "EPSG:3857", "transform": rasterio.transform.from_origin(0, 0, 9, 9)}
    with rasterio.open(path, "w", driver="GTiff", count=1, height=9, width=9, dtype="int64", **placed) as file:
        file.write(np.arange(81).reshape(1, 9, 9))
    with pytest.raises(OutputError, match=r"write \.tif or \.zarr"):
        predict_file(identity_model(path), str(path), tmp_path / "out.ome.tif")
    assert not (tmp_path / "out.ome.tif").exists()


def test_levels_average_valid_pixels_only() -> None:
    group = zarr.create_group({}, zarr_format=3)
    pixels = np.full((1, 600, 601), 100, np.uint16)
    pixels[0, 0, :2] = 0
    pixels[0, 4:6, 4:6] = 0
    pixels[0, 0, 2] = 201
    (level,) = add_levels(
        group,
        pixels,
        None,
        profile=io.plain_profile(["a"], dtype="uint16").__class__(
            dtype="uint16", bands=(io.BandProfile("a", nodata=0),)
        ),
        name=str,
        axes=("c", "y", "x"),
    )
    assert levels_of((600, 601)) == [(300, 301)]
    assert level[0, 0, 0] == 100
    assert level[0, 2, 2] == 0
    assert level[0, 0, 1] == round((201 + 300) / 4)
    assert level[0, 299, 300] == 100


def test_other_suffixes_are_refused(tmp_path: Path) -> None:
    path = scene(tmp_path / "scene.tif")
    with pytest.raises(OutputError, match=r"ends in \.tif, \.ome\.tif, \.zarr or \.ome\.zarr"):
        predict_file(identity_model(path), str(path), tmp_path / "out.png")


def scene(path: Path, *, height: int = 40, width: int = 50) -> Path:
    values = np.random.default_rng(0).integers(1, 4000, (2, height, width), dtype=np.uint16)
    transform = rasterio.transform.from_origin(5e5, 4e6, 10, 10)
    profile = {"driver": "GTiff", "count": 2, "height": height, "width": width, "dtype": "uint16", "nodata": 0}
    with rasterio.open(path, "w", crs="EPSG:32631", transform=transform, **profile) as file:
        file.write(values)
        file.descriptions = ("red", "nir")
    return path
