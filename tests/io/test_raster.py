"""Opening rasters: physical values, validity, names, grid; lazily."""

import pickle
import shutil
import threading
import warnings

import numpy as np
import pytest
import rasterio
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.errors import NotGeoreferencedWarning

from sciddiff import io
from sciddiff.errors import InputError, OptionError
from tests.zoo import make_zoo, pixels

NORTH_UP = Affine(10, 0, 440280, 0, -10, 3159720)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    return make_zoo(tmp_path_factory.mktemp("zoo"))


@pytest.fixture
def reads(monkeypatch):
    """Windows that are read from files, one entry a call."""
    windows = []
    read = rasterio.DatasetReader.read

    def counted(src, *args, window=None, **options):
        windows.append(window)
        return read(src, *args, window=window, **options)

    monkeypatch.setattr(
        "sciddiff.io.pixels.read_stored",
        lambda src, indexes, window, dtype: counted(src, list(indexes), window=window, out_dtype=dtype),
    )
    return windows


def test_values_are_physical_and_invalid_pixels_nan(zoo):
    image = io.open(zoo["uint16_scale_offset"])
    stored, masks = pixels(zoo["uint16_scale_offset"])
    expected = np.where(masks > 0, stored * 2.75e-5 - 0.2, np.nan)
    assert image.dims == ("band", "y", "x")
    assert image.dtype == np.float32
    np.testing.assert_allclose(image.values, expected, rtol=0, atol=1e-7)
    np.testing.assert_array_equal(image.valid.values, masks > 0)


@pytest.mark.parametrize(
    "name",
    [
        "plain_uint8",
        "int16_nodata",
        "uint16_nodata_zero",
        "internal_mask",
        "internal_mask_float",
        "float32_nodata_nan",
        "all_invalid",
    ],
)
def test_validity_is_that_of_gdal(zoo, name):
    image = io.open(zoo[name])
    _, masks = pixels(zoo[name])
    np.testing.assert_array_equal(image.valid.values, masks > 0)
    np.testing.assert_array_equal(np.isnan(image.values), masks == 0)


def test_zero_is_a_value(zoo):
    image = io.open(zoo["plain_uint8"])
    assert (image.values[:, 0, 0] == 0).all()
    assert image.valid.values.all()


def test_nan_and_infinity_are_invalid(zoo):
    image = io.open(zoo["float32_nan"])
    assert not image.valid.values[0, -1, -2:].any()
    assert not image.valid.values[1, -3, -3]
    assert np.isnan(image.values[0, -1, -1])
    both = io.open(zoo["float32_nodata_and_nan"])
    assert not both.valid.values[:, -4:, -4:].any()
    assert not both.valid.values[:, 0, 0].any()


def test_alpha_is_validity_and_no_band(zoo):
    image = io.open(zoo["alpha"])
    stored, _ = pixels(zoo["alpha"])
    assert list(image.band.values) == ["red", "green", "blue"]
    np.testing.assert_array_equal(image.valid.values, np.broadcast_to(stored[3] > 0, (3, *stored.shape[1:])))
    assert io.open(zoo["alpha"], bands=[1, 2, 3, 4]).shape == stored.shape


def test_near_infrared_that_gdal_calls_alpha_is_data(zoo):
    image = io.open(zoo["nir_as_alpha"])
    assert list(image.band.values) == ["R", "G", "B", "NIR"]
    assert image.valid.values.all()
    np.testing.assert_array_equal(image.values, pixels(zoo["nir_as_alpha"])[0])


def test_palette_opens_with_its_colours(zoo):
    image = io.open(zoo["palette"])
    assert image.encoding["raster"].bands[0].colormap[3] == (3, 252, 1, 255)


def test_sentinel2_baseline_0400(zoo):
    image = io.open(zoo["sentinel2_0400"])
    stored, masks = pixels(zoo["sentinel2_0400"])
    expected = np.where(masks > 0, (stored.astype(float) - 1000) / 10000, np.nan).astype(np.float32)
    np.testing.assert_array_equal(image.values, expected)
    assert image.attrs["units"] == "1"


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("plain_uint16", "float32"),
        ("plain_int32", "float64"),
        ("plain_float64", "float64"),
        ("uint16_scale_offset", "float32"),
    ],
)
def test_float32_where_it_holds_every_number(zoo, name, dtype):
    assert io.open(zoo[name]).dtype == dtype


@pytest.mark.parametrize(
    "name",
    [
        "rotated",
        "sheared",
        "south_up",
        "mirrored",
        "not_square",
        "degrees",
        "nowhere",
        "no_crs",
        "gcps",
        "own_crs",
        "plain_uint8",
    ],
)
def test_any_crop_has_the_grid_that_the_file_implies(zoo, name):
    image = io.open(zoo[name])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(zoo[name]) as src:
            grid = GeoBox(src.shape, src.transform, src.crs and src.crs.to_wkt())
    assert io.grid_of(image) == grid
    for rows, cols in ((slice(10, 40), slice(3, 71)), (slice(69, 70), slice(89, 90)), (slice(5, 6), slice(0, 90))):
        assert io.grid_of(image[:, rows, cols]) == grid[rows, cols]
    thinned = io.grid_of(image[:, 4:44, 7:57][:, 1::2, ::4]).affine
    row, col = 4 + 1 + 0.5 - 2 / 2, 7 + 0.5 - 4 / 2  # its first pixel is centred on that of row 5, column 7
    whole = grid.affine
    corner = whole.a * col + whole.b * row + whole.c, whole.d * col + whole.e * row + whole.f
    np.testing.assert_allclose((thinned.c, thinned.f), corner, rtol=1e-14)


@pytest.mark.parametrize("name", ["one_pixel", "one_row", "one_column", "tiny", "nowhere_one_pixel"])
def test_small_rasters_have_their_grid(zoo, name):
    image = io.open(zoo[name])
    assert io.grid_of(image).affine == image.encoding["raster"].transform
    assert io.grid_of(image).shape == image.shape[1:]


def test_flipped_and_arithmetic_images_have_a_grid(zoo):
    image = io.open(zoo["plain_uint16"])
    flipped = io.grid_of(image[:, ::-1, :])
    assert tuple(flipped.affine)[:6] == (10, 0, 440280, 0, 10, 3159720 - 700)
    assert io.grid_of((image * 2 + 1).isel(x=slice(5, None))) == io.grid_of(image)[:, 5:]
    assert io.grid_of(image.sel(band="band_2")) == io.grid_of(image)


def test_odc_reads_the_same_grid(zoo):
    pytest.importorskip("odc.geo.xr", exc_type=ImportError)
    for name in ("plain_uint16", "rotated", "one_pixel", "nowhere", "degrees"):
        image = io.open(zoo[name])
        assert image.odc.geobox.affine == io.grid_of(image).affine
        assert image.odc.crs == io.grid_of(image).crs


def test_nothing_is_read_before_it_is_asked_for(zoo, reads):
    image = io.open(zoo["tiled"])
    repr(image)
    io.grid_of(image[:, 100:200, 5:9])
    pickle.loads(pickle.dumps(image))
    assert reads == []


def test_only_the_window_is_read_once_for_values_and_validity(zoo, reads):
    image = io.open(zoo["tiled"])
    values, valid = io.read_window(image, slice(100, 164), slice(500, 532))
    assert [(w.row_off, w.col_off, w.height, w.width) for w in reads] == [(100, 500, 64, 32)]
    stored, _ = pixels(zoo["tiled"])
    np.testing.assert_array_equal(values, stored[:, 100:164, 500:532])
    assert valid.all()
    io.read_window(image[1:, 10:, 20:], slice(0, 4), slice(0, 8))
    assert (reads[-1].row_off, reads[-1].col_off) == (10, 20)


def test_any_indexing_equals_that_of_the_whole(zoo):
    image, whole = io.open(zoo["internal_mask"]), io.open(zoo["internal_mask"]).load()
    for key in (
        np.s_[:, ::3, ::5],
        np.s_[1, 7],
        np.s_[:, ::-2, 4:60:7],
        np.s_[[2, 0], 3:9, [5, 2, 88]],
        np.s_[..., -1],
        np.s_[:, 9:9],
    ):
        np.testing.assert_array_equal(image[key].values, whole[key].values)
        np.testing.assert_array_equal(image[key].valid.values, whole.valid[key].values)


def test_thinned_reading_goes_by_strips(zoo, reads, monkeypatch):
    monkeypatch.setattr("sciddiff.io.pixels.STRIP_BYTES", 8 * 2 * 700 * 50)
    image = io.open(zoo["tiled"])
    stored, _ = pixels(zoo["tiled"])
    np.testing.assert_array_equal(image[:, 3::7, ::3].values, stored[:, 3::7, ::3])
    assert max(window.height for window in reads) <= 50
    np.testing.assert_array_equal(image[:, ::97, 1::2].values, stored[:, ::97, 1::2])


def test_reads_from_many_threads(zoo):
    image = pickle.loads(pickle.dumps(io.open(zoo["tiled"])))
    stored, _ = pixels(zoo["tiled"])
    wrong = []

    def work(row):
        for col in range(0, 640, 64):
            values, _ = io.read_window(image, slice(row, row + 64), slice(col, col + 64))
            if not np.array_equal(values, stored[:, row : row + 64, col : col + 64]):
                wrong.append((row, col))

    threads = [threading.Thread(target=work, args=(row,)) for row in range(0, 512, 64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_huge_raster_opens_without_being_read(tmp_path, reads):
    path = tmp_path / "huge.tif"
    layout = {
        "height": 100_000,
        "width": 100_000,
        "count": 4,
        "dtype": "uint16",
        "tiled": True,
        "blockxsize": 512,
        "blockysize": 512,
    }
    with rasterio.open(path, "w", driver="GTiff", sparse_ok=True, bigtiff="YES", transform=NORTH_UP, **layout):
        pass
    image = io.open(path)
    assert image.shape == (4, 100_000, 100_000)
    corner = image[:, -3:, -2:]
    assert io.grid_of(corner).affine == Affine(10, 0, 440280 + 999_980, 0, -10, 3159720 - 999_970)
    assert (corner.values == 0).all()
    assert len(reads) == 1


def test_bands_by_name_and_number(zoo):
    path = zoo["names_units_tags"]
    stored, _ = pixels(path)
    image = io.open(path, bands=["B08", 1])
    assert list(image.band.values) == ["B8", "B2"]
    np.testing.assert_array_equal(image.values, stored[[3, 0]])
    assert [band.units for band in image.encoding["raster"].bands] == ["m", "W/m2"]


@pytest.mark.parametrize("bands", [["B11"], [6], [0], [], "B2", ["B2", 1]])
def test_bands_that_are_not_there(zoo, bands):
    with pytest.raises(InputError, match=r"names_units_tags\.tif: "):
        io.open(zoo["names_units_tags"], bands=bands)


def test_vrt_with_its_own_nodata_for_each_band(zoo, tmp_path):
    path = tmp_path / "two.vrt"
    sources = "".join(
        f'<VRTRasterBand dataType="UInt16" band="{at}"><NoDataValue>{nodata}</NoDataValue><SimpleSource>'
        f"<SourceFilename>{zoo['plain_uint16']}</SourceFilename><SourceBand>{at}</SourceBand></SimpleSource></VRTRasterBand>"
        for at, nodata in ((1, int(pixels(zoo["plain_uint16"])[0][0, 3, 4])), (2, 70000))
    )
    path.write_text(f'<VRTDataset rasterXSize="90" rasterYSize="70">{sources}</VRTDataset>')
    image = io.open(path)
    assert not image.valid.values[0, 3, 4]
    assert image.valid.values[1].all()
    with rasterio.MemoryFile(zoo["plain_uint16"].read_bytes()) as memory:
        np.testing.assert_array_equal(io.open(memory.name).values[1], image.values[1])


def test_missing_and_unreadable_files(tmp_path):
    with pytest.raises(InputError, match=r"gone\.tif: no such file"):
        io.open(tmp_path / "gone.tif")
    (tmp_path / "text.tif").write_text("no raster")
    with pytest.raises(InputError, match=r"text\.tif: cannot be opened as a raster: .*not recognized"):
        io.open(tmp_path / "text.tif")
    (tmp_path / "empty.tif").write_bytes(b"")
    for path in (tmp_path / "empty.tif", tmp_path):
        with pytest.raises(InputError, match="cannot be opened"):
            io.open(path)


def test_a_file_that_may_not_be_read_is_an_error_of_the_input(tmp_path, monkeypatch):
    path = tmp_path / "scene"
    path.write_bytes(b"II*\0")

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(InputError, match=r"scene: cannot be opened as a raster"):
        io.open(path)


def test_complex_pixels_are_refused(tmp_path):
    path = tmp_path / "sar.tif"
    with rasterio.open(
        path, "w", driver="GTiff", height=2, width=2, count=1, dtype="complex64", transform=NORTH_UP
    ) as dst:
        dst.write(np.ones((1, 2, 2), "complex64"))
    with pytest.raises(InputError, match=r"sar\.tif: pixels are complex64"):
        io.open(path)


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_a_truncated_file_is_refused_at_opening(zoo, tmp_path, share):
    path = tmp_path / "cut.tif"
    whole = zoo["plain_uint16"].read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(InputError, match=r"cut\.tif: "):
        io.open(path)


@pytest.mark.parametrize("name", ["tiled", "internal_mask"])
def test_a_file_truncated_later_is_refused_at_reading(zoo, tmp_path, name):
    path = tmp_path / "cut.tif"
    io.save(io.open(zoo[name]), path)  # a COG: its directory stands first
    image = io.open(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(InputError, match=r"cut\.tif: cannot be read, truncated or damaged"):
        image.load()
    with pytest.raises(InputError, match="truncated"):
        io.open(path)


def test_a_file_that_changed_its_shape_is_refused(zoo, tmp_path):
    path = tmp_path / "swap.tif"
    shutil.copy(zoo["tiny"], path)
    image = io.open(path)
    shutil.copy(zoo["one_row"], path)
    with pytest.raises(InputError, match="has changed"):
        image.load()


def test_images_from_arrays():
    grid = GeoBox((4, 6), NORTH_UP, "EPSG:32616")
    values = np.arange(48, dtype=np.float32).reshape(2, 4, 6)
    values[0, 0, 0] = np.inf
    image = io.from_array(values, grid=grid, bands=["a", "b"], valid=values[0] != 5)
    assert io.grid_of(image) == grid
    assert int((~image.valid).sum()) == 3
    np.testing.assert_array_equal(np.isnan(image.values), ~image.valid.values)
    assert io.from_array(np.ones((4, 6), np.int32), grid=grid, bands=["a"]).dtype == np.float64
    for wrong in (
        {"bands": ["a"]},
        {"bands": ["a", "a"]},
        {"grid": GeoBox((4, 5), NORTH_UP, None)},
        {"valid": values[:, :2] > 0},
    ):
        with pytest.raises((InputError, ValueError)):
            io.from_array(values, **{"grid": grid, "bands": ["a", "b"], **wrong})


def test_grid_of_foreign_arrays():
    plain = xr.DataArray(np.zeros((3, 4)), dims=("y", "x"))
    assert io.grid_of(plain).affine.is_identity
    spaced = plain.assign_coords(y=[5.0, 3.0, 1.0], x=[0.5, 1.5, 2.5, 3.5])
    assert tuple(io.grid_of(spaced).affine)[:6] == (1, 0, 0, 0, -2, 6)
    with pytest.raises(InputError, match="not evenly spaced"):
        io.grid_of(plain.assign_coords(x=[0.0, 1.0, 3.0, 4.0]))
    with pytest.raises(InputError, match="needs y and x"):
        io.grid_of(xr.DataArray(np.zeros(3), dims="x"))


def test_real_aerial_images_keep_their_near_infrared(realdata):
    for path in sorted((realdata / "rs").glob("naip_*.tif")):
        image = io.open(path)
        assert list(image.band.values) == ["R", "G", "B", "NIR"], path.name
        with rasterio.open(path) as src:
            stored, nodata = src.read(), src.nodata
        np.testing.assert_array_equal(image.valid.values, stored != nodata if nodata is not None else True)


def test_real_satellite_names(realdata):
    image = io.open(realdata / "rs" / "s2_l2_aberystwyth_20210527_10band_10m.tif", bands=["B04", "B03", "B02", "B08"])
    assert list(image.band.values) == ["B4", "B3", "B2", "B8"]
    landsat = io.open(realdata / "rs" / "l8_l1tp_corumba_20190809_ms6_30m.tif")
    assert io.match_bands(["B04", "B08"], landsat.band.values, sensor="sentinel2") == [2, 3]


@pytest.mark.parametrize("crs", ['LOCAL_CS["site",UNIT["metre",1]]', "EPSG:4978"])
def test_coordinates_of_no_map_stopped_the_opening(tmp_path, crs):
    path = tmp_path / "site.tif"
    grid = {"crs": rasterio.crs.CRS.from_user_input(crs), "transform": NORTH_UP}
    with rasterio.open(path, "w", driver="GTiff", count=1, height=4, width=5, dtype="uint8", **grid) as dst:
        dst.write(np.ones((1, 4, 5), "uint8"))
    image = io.open(path)
    assert image.x.attrs["units"] == image.y.attrs["units"] == "metre"
    assert io.grid_of(image).affine == NORTH_UP
    with rasterio.open(path) as src:
        assert io.grid_of(image).crs == src.crs.to_wkt()


def bands_of_a_vrt(path, *bands):
    """A virtual raster of (type, file, nodata) a band."""
    told = "".join(
        f'<VRTRasterBand dataType="{kind}" band="{at}">'
        + (f"<NoDataValue>{nodata}</NoDataValue>" if nodata else "")
        + f"<SimpleSource><SourceFilename>{file}</SourceFilename></SimpleSource></VRTRasterBand>"
        for at, (kind, file, nodata) in enumerate(bands, start=1)
    )
    grid = "<GeoTransform>440280, 10, 0, 3159720, 0, -10</GeoTransform>"
    path.write_text(f'<VRTDataset rasterXSize="90" rasterYSize="70">{grid}{told}</VRTDataset>')
    return path


def test_bands_of_several_types_could_not_be_read(zoo, tmp_path):
    whole, fraction = zoo["plain_uint16"], zoo["float32_nan"]
    image = io.open(bands_of_a_vrt(tmp_path / "two.vrt", ("UInt16", whole, None), ("Float32", fraction, None)))
    np.testing.assert_array_equal(image.values[0], io.open(whole).values[0])
    np.testing.assert_array_equal(image.values[1], io.open(fraction).values[0])
    assert io.grid_of(image).shape == (70, 90)


def test_the_lowest_float_as_nodata_was_lost_where_its_digits_round_it_down(tmp_path):
    lowest = np.finfo(np.float32).min
    values = np.ones((1, 70, 90), np.float32)
    values[0, :3, :3] = lowest
    layout = {"driver": "GTiff", "count": 1, "height": 70, "width": 90, "dtype": "float32", "transform": NORTH_UP}
    with rasterio.open(tmp_path / "a.tif", "w", **layout) as dst:
        dst.write(values)
    vrt = bands_of_a_vrt(tmp_path / "a.vrt", ("Float32", tmp_path / "a.tif", "-3.4028235e+38"))
    image = io.open(vrt)
    np.testing.assert_array_equal(image.valid.values, values == 1)
    io.save(image, tmp_path / "b.tif")
    with rasterio.open(tmp_path / "b.tif") as src:
        assert src.nodata == float(lowest)
        np.testing.assert_array_equal(src.read(), values)


@pytest.mark.parametrize("told", [{"scale": np.inf, "offset": None}, {"scale": None, "offset": np.inf}])
def test_a_stated_number_that_is_none_was_ignored(zoo, told):
    with pytest.raises(OptionError, match=r"(scale|offset) is inf"):
        io.stated(str(zoo["plain_uint16"]), **told)


def test_a_stated_scale_lost_the_tags_outside_the_default_namespace(zoo):
    path = zoo["names_units_tags"]
    with pytest.warns(io.RasterWarning, match="the units of the bands are not kept"):
        image = io.open(io.stated(str(path), scale=0.5, offset=1.0), bands=["B4", "B3"])
    plain = io.open(path, bands=["B4", "B3"])
    found, own = image.encoding["raster"], plain.encoding["raster"]
    assert found.tags == own.tags
    assert [band.tags for band in found.bands] == [band.tags for band in own.bands]
    assert "MISSION" in own.tags
    np.testing.assert_array_equal(image.values, plain.values * 0.5 + 1)
