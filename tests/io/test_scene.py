"""Scenes: folders, patterns and lists of single-band files, archives and addresses, as one image."""

import json
import pickle
import subprocess
import sys
import threading
import warnings
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.errors import NotGeoreferencedWarning
from rasterio.windows import Window

from sciddiff import io
from sciddiff.errors import InputError
from sciddiff.io.scene import files_of

UTM = "EPSG:32630"
ORIGIN = Affine(10, 0, 600000, 0, -10, 5700000)
LOSSLESS = {"driver": "JP2OpenJPEG", "QUALITY": "100", "REVERSIBLE": "YES"}
TILE = "T30UXC_20220527T112121"
LANDSAT = "LC08_L1TP_017051_20151205_20200908_02_T1"
BAND_IDS = ["B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B10", "B11", "B12"]


def numbers(seed: int, side: int = 48, dtype: str = "uint16") -> np.ndarray:
    values = np.random.default_rng(seed).integers(500, 9000, (side, side))
    return values.astype(dtype)


def write(path: Path, values: np.ndarray, *, size: float = 10, mask: np.ndarray | None = None, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    tags, dress = options.pop("tags", {}), options.pop("dress", lambda dst: None)
    values = values if values.ndim == 3 else values[None]
    grid = {"crs": UTM, "transform": Affine(size, 0, 600000, 0, -size, 5700000)}
    shape = {"count": values.shape[0], "height": values.shape[1], "width": values.shape[2], "dtype": values.dtype}
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", **{"driver": "GTiff", **grid, **shape, **options}) as dst:
            dst.write(values)
            dst.update_tags(**tags)
            dress(dst)
            if mask is not None:
                dst.write_mask(mask)
    return path


def mtd(level: str, *, offsets: bool = True) -> str:
    """The part of a Sentinel-2 product's metadata that says what its numbers mean."""
    kind, name = ("BOA", "BOA_QUANTIFICATION_VALUE") if level == "2A" else ("RADIO", "QUANTIFICATION_VALUE")
    listed = "".join(
        f'<{kind}_ADD_OFFSET band_id="{at}">{-1000 - at}</{kind}_ADD_OFFSET>' for at in range(len(BAND_IDS))
    )
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<n1:Level-{level}_User_Product xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/User_Product_Level-{level}.xsd">
  <n1:General_Info><Product_Image_Characteristics>
    <Special_Values><SPECIAL_VALUE_TEXT>NODATA</SPECIAL_VALUE_TEXT><SPECIAL_VALUE_INDEX>0</SPECIAL_VALUE_INDEX>
    </Special_Values>
    <Special_Values><SPECIAL_VALUE_TEXT>SATURATED</SPECIAL_VALUE_TEXT>
    <SPECIAL_VALUE_INDEX>65535</SPECIAL_VALUE_INDEX></Special_Values>
    <QUANTIFICATION_VALUES_LIST><{name} unit="none">10000</{name}></QUANTIFICATION_VALUES_LIST>
    {f"<Offset_List>{listed}</Offset_List>" if offsets else ""}
  </Product_Image_Characteristics></n1:General_Info>
</n1:Level-{level}_User_Product>"""


@pytest.fixture(scope="module")
def l2a(tmp_path_factory) -> Path:
    safe = tmp_path_factory.mktemp("s2") / "S2A_MSIL2A_20220527T112121_N0400_R037_T30UXC_20220527T142142.SAFE"
    images = safe / "GRANULE" / "L2A_T30UXC_A036182_20220527T112118" / "IMG_DATA"
    bands = {10: ("B02", "B03", "B04", "B08"), 20: ("B02", "B05", "B8A", "B11"), 60: ("B01", "B09")}
    for metres, names in bands.items():
        for name in names:
            values = numbers(int(name[1], 16) + metres, 480 // metres)
            values[:2, :2] = 0
            write(images / f"R{metres}m" / f"{TILE}_{name}_{metres}m.jp2", values, size=metres, **LOSSLESS)
    for name in ("AOT", "WVP", "SCL"):
        write(images / "R20m" / f"{TILE}_{name}_20m.jp2", numbers(3, 24), size=20, **LOSSLESS)
    write(images / "R10m" / f"{TILE}_TCI_10m.jp2", numbers(4).astype("uint8"), **LOSSLESS)
    write(safe / "GRANULE" / images.parent.name / "QI_DATA" / "MSK_CLDPRB_20m.jp2", numbers(5, 24), **LOSSLESS)
    (safe / "MTD_MSIL2A.xml").write_text(mtd("2A"))
    return safe


def stored(path: Path) -> np.ndarray:
    with rasterio.open(path) as src:
        return src.read(1)


def test_a_safe_folder_is_its_ten_metre_bands_as_reflectance(l2a):
    with pytest.warns(io.RasterWarning, match=r"than 10 are left out: B05 \(20\).*B01 \(60\)") as caught:
        image = io.open(l2a)
    assert len(caught) == 1
    assert list(image.band.values) == ["B02", "B03", "B04", "B08"]
    assert image.attrs["units"] == "1"
    assert io.grid_of(image).affine == ORIGIN
    assert image.name.startswith("S2A_MSIL2A")
    for name, band_id in (("B02", 1), ("B08", 7)):
        raw = stored(next(l2a.rglob(f"*_{name}_10m.jp2"))).astype(float)
        band = image.sel(band=name)
        np.testing.assert_allclose(band.values[2:], (raw[2:] - 1000 - band_id) / 10000, rtol=0, atol=1e-7)
        assert not band.valid.values[:2, :2].any()
        assert band.valid.values.sum() == raw.size - 4
    profile = image.encoding["raster"]
    assert profile.tags[""]["BOA_QUANTIFICATION_VALUE"] == "10000"
    assert profile.bands[2].tags[""]["BOA_ADD_OFFSET"] == "-1003"
    assert (profile.nodata, profile.dtype) == (0, "uint16")


def test_bands_by_name_choose_the_grid_that_has_them_all(l2a):
    narrow = io.open(l2a, bands=["B8A", "B05"])
    assert list(narrow.band.values) == ["B8A", "B05"]
    assert io.grid_of(narrow).affine.a == 20
    both = io.open(l2a, bands=["B02", "B05"])
    assert both.shape == (2, 24, 24)
    raw = stored(next(l2a.rglob("*_B02_20m.jp2"))).astype(float)
    np.testing.assert_allclose(both.values[0, 2:], (raw[2:] - 1001) / 10000, atol=1e-7)
    assert io.open(l2a, bands=["red", "B8"]).shape == (2, 48, 48)
    with pytest.raises(InputError, match=r"no pixel size has all of B08, B01; there are B02 \(10\)"):
        io.open(l2a, bands=["B08", "B01"])
    with pytest.raises(InputError, match="needs B7; got B02"):
        io.open(l2a, bands=["B7"])


def test_the_metadata_file_a_pattern_and_a_list_are_the_same_scene(l2a):
    with pytest.warns(io.RasterWarning, match="left out"):
        whole = io.open(l2a / "MTD_MSIL2A.xml")
    pattern = io.open(f"{l2a}/GRANULE/*/IMG_DATA/R10m/*.jp2")
    listed = io.open(sorted(l2a.rglob("*_10m.jp2"), reverse=True)[1:])
    np.testing.assert_array_equal(pattern.values, whole.values)
    assert list(listed.band.values) == ["B08", "B04", "B03", "B02"]
    np.testing.assert_array_equal(listed.values, whole.values[::-1])


@pytest.mark.parametrize("offsets", [True, False])
def test_level_1c_has_its_own_offset_and_before_2022_none(tmp_path, offsets):
    safe = tmp_path / "S2B_MSIL1C.SAFE"
    for name, size in (("B02", 10), ("B03", 10), ("B10", 60)):
        path = safe / "GRANULE" / "L1C_T30UXC" / "IMG_DATA" / f"{TILE}_{name}.jp2"
        write(path, numbers(1, 480 // size), size=size, **LOSSLESS)
    (safe / "MTD_MSIL1C.xml").write_text(mtd("1C", offsets=offsets))
    with pytest.warns(io.RasterWarning, match="B10"):
        image = io.open(safe)
    expected = (numbers(1) - (1002.0 if offsets else 0)) / 10000
    np.testing.assert_allclose(image.sel(band="B03").values, expected, atol=1e-7)
    (safe / "MTD_MSIL1C.xml").write_text("<half")
    with pytest.raises(InputError, match=r"MTD_MSIL1C.xml: cannot be read as metadata"):
        io.open(safe)
    (safe / "GRANULE" / "L1C_T31" / "IMG_DATA").mkdir(parents=True)
    with pytest.raises(InputError, match="2 granules, L1C_T30UXC and L1C_T31"):
        io.open(safe)


MTL = """GROUP = LANDSAT_METADATA_FILE
  GROUP = IMAGE_ATTRIBUTES
    SUN_ELEVATION = 47.1
  END_GROUP = IMAGE_ATTRIBUTES
  GROUP = LEVEL1_RADIOMETRIC_RESCALING
    RADIANCE_MULT_BAND_2 = 1.2E-02
    RADIANCE_ADD_BAND_2 = -60.0
    RADIANCE_MULT_BAND_10 = 3.342E-04
    RADIANCE_ADD_BAND_10 = 0.1
    REFLECTANCE_MULT_BAND_2 = 2.0E-05
    REFLECTANCE_ADD_BAND_2 = -0.1
    REFLECTANCE_MULT_BAND_3 = 3.0E-05
    REFLECTANCE_ADD_BAND_3 = -0.2
  END_GROUP = LEVEL1_RADIOMETRIC_RESCALING
END_GROUP = LANDSAT_METADATA_FILE
END
"""


@pytest.fixture
def landsat(tmp_path) -> Path:
    folder = tmp_path / LANDSAT
    for name in ("B2", "B3", "B10"):
        values = numbers(int(name[1:]))
        values[0] = 0
        write(folder / f"{LANDSAT}_{name}.TIF", values, size=30)
    write(folder / f"{LANDSAT}_B8.TIF", numbers(8, 96), size=15)
    for name in ("QA_PIXEL", "QA_RADSAT", "SAA", "VZA"):
        write(folder / f"{LANDSAT}_{name}.TIF", numbers(5), size=30)
    (folder / f"{LANDSAT}_MTL.txt").write_text(MTL)
    return folder


def test_a_landsat_folder_is_scaled_by_its_mtl(landsat):
    with pytest.warns(io.RasterWarning, match=r"another pixel size than 30 are left out: B8 \(15\)"):
        image = io.open(landsat)
    assert list(image.band.values) == ["B2", "B3", "B10"]
    profile = image.encoding["raster"]
    assert profile.scales == (2e-5, 3e-5, 3.342e-4)
    assert profile.units == ("1", "1", "W m-2 sr-1 um-1")
    np.testing.assert_allclose(image.values[1, 1:], numbers(3)[1:] * 3e-5 - 0.2, atol=1e-6)
    assert not image.valid.values[:, 0].any()
    assert image.valid.values[:, 1:].all()
    assert io.open(landsat, bands=["B8"]).shape == (1, 96, 96)
    assert io.open(f"{landsat}/*_B[23].TIF").attrs["units"] == "1"


def test_landsat_level_2_takes_the_factors_of_level_2(tmp_path):
    scene = "LC08_L2SP_017051_20151205_20200908_02_T1"
    for name in ("SR_B2", "SR_B3", "ST_B10", "ST_EMIS", "SR_QA_AEROSOL"):
        write(tmp_path / f"{scene}_{name}.TIF", numbers(len(name)), size=30, nodata=0)
    level1 = {"REFLECTANCE_MULT_BAND_2": "2.0E-05", "REFLECTANCE_ADD_BAND_2": "-0.1"}
    level2 = {f"REFLECTANCE_{key}_BAND_{n}": v for n in (2, 3) for key, v in (("MULT", "2.75e-05"), ("ADD", "-0.2"))}
    heat = {"TEMPERATURE_MULT_BAND_ST_B10": "0.00341802", "TEMPERATURE_ADD_BAND_ST_B10": "149.0"}
    groups = {
        "LEVEL1_RADIOMETRIC_RESCALING": level1,
        "LEVEL2_SURFACE_REFLECTANCE_PARAMETERS": level2,
        "LEVEL2_SURFACE_TEMPERATURE_PARAMETERS": heat,
    }
    (tmp_path / f"{scene}_MTL.json").write_text(json.dumps({"LANDSAT_METADATA_FILE": groups}))
    profile = io.open(tmp_path).encoding["raster"]
    assert profile.names == ("B2", "B3", "B10")
    assert profile.scales == (2.75e-5, 2.75e-5, 0.00341802)
    assert profile.offsets == (-0.2, -0.2, 149.0)
    assert profile.units == ("1", "1", "K")
    (tmp_path / f"{scene}_MTL.json").write_text("[]")
    with pytest.raises(InputError, match=r"MTL.json: cannot be read as metadata of Landsat"):
        io.open(tmp_path)


@pytest.mark.parametrize("name", ["l8_l2sp_momotombo_20151205_sr6_30m.tif", "l8_l1tp_momotombo_20151205_ms6_30m.tif"])
def test_a_real_landsat_scene_in_band_files_is_the_scene(realdata, tmp_path, name):
    whole = io.open(realdata / "rs" / name)
    folder = tmp_path / "scene"
    with rasterio.open(realdata / "rs" / name) as src:
        for index in src.indexes:
            options = {"crs": src.crs, "transform": src.transform, "nodata": src.nodata}
            scale, offset = src.scales[index - 1], src.offsets[index - 1]
            dress = partial(_scaled, scale=scale, offset=offset)
            path = folder / f"LC08_L2SP_017051_20151205_20200908_02_T1_SR_B{index + 1}.TIF"
            write(path, src.read(index), dress=dress, compress="deflate", tiled=True, **options)
    image = io.open(folder)
    assert list(image.band.values) == [f"B{number}" for number in range(2, 8)]
    zero = image.valid.values & np.isfinite(whole.values)
    np.testing.assert_array_equal(image.values[zero], whole.values[zero])
    assert io.grid_of(image) == io.grid_of(whole)
    out = tmp_path / "out.tif"
    io.save(image, out)
    with rasterio.open(out) as dst, rasterio.open(realdata / "rs" / name) as src:
        np.testing.assert_array_equal(dst.read(), src.read())
        assert (dst.scales, dst.offsets, dst.transform, dst.crs) == (src.scales, src.offsets, src.transform, src.crs)


def _scaled(dst, *, scale, offset):
    dst.scales, dst.offsets = [scale], [offset]


def test_a_plain_folder_keeps_what_its_files_say(tmp_path):
    empty = numbers(1, dtype="int16")
    empty[3, 3] = -9999
    write(tmp_path / "site_nir.tif", empty, nodata=-9999, tags={"SITE": "a", "SENSOR": "x"}, tiled=True, blockxsize=16)
    write(tmp_path / "site_red.tif", empty + 1, nodata=-9998, tags={"SITE": "a", "SENSOR": "y"})
    image = io.open(tmp_path)
    profile = image.encoding["raster"]
    assert list(image.band.values) == ["nir", "red"]
    assert profile.tags[""] == {"SITE": "a", "AREA_OR_POINT": "Area"}
    assert [band.tags[""] for band in profile.bands] == [{"SENSOR": "x"}, {"SENSOR": "y"}]
    assert [band.nodata for band in profile.bands] == [-9999, -9998]
    assert not image.valid.values[:, 3, 3].any()
    assert image.valid.values.sum() == 2 * 48 * 48 - 2
    np.testing.assert_array_equal(image.values[0][image.valid.values[0]], empty[empty != -9999])


def test_descriptions_name_bands_and_numbers_sort_as_people_count(tmp_path):
    for number in (1, 2, 10):
        path = tmp_path / "numbered" / f"B{number}.tif"
        write(path, numbers(number), dress=lambda dst: dst.set_band_description(1, "counts"))
        word = f"word {number}"
        path = tmp_path / "described" / f"{number}.tif"
        write(path, numbers(number), dress=lambda dst, word=word: dst.set_band_description(1, word))
    assert list(io.open(tmp_path / "numbered").band.values) == ["B1", "B2", "B10"]
    assert list(io.open(tmp_path / "described").band.values) == ["word 1", "word 2", "word 10"]


def test_masks_of_the_files_hold_together(tmp_path):
    top, left = np.full((48, 48), 255, np.uint8), np.full((48, 48), 255, np.uint8)
    top[:4], left[:, :4] = 0, 0
    write(tmp_path / "a.tif", numbers(1), mask=top)
    write(tmp_path / "b.tif", numbers(2))
    image = io.open(tmp_path)
    np.testing.assert_array_equal(image.valid.values, np.broadcast_to(top > 0, (2, 48, 48)))
    write(tmp_path / "c.tif", numbers(3), mask=left)
    image = io.open(tmp_path)
    assert image.encoding["raster"].mask
    np.testing.assert_array_equal(image.valid.values, np.broadcast_to((top > 0) & (left > 0), (3, 48, 48)))


def test_ground_control_points_and_floats_come_through(tmp_path):
    points = [GroundControlPoint(row, col, col / 10, -row / 10, 5.0) for row in (0, 48) for col in (0, 48)]
    values = numbers(1).astype("float32")
    values[0, 0] = np.nan
    for name in ("vv", "vh"):
        write(tmp_path / f"s1a-iw-grd-{name}.tif", values, gcps=points, crs="EPSG:4326", transform=None)
    image = io.open(tmp_path)
    alone = io.open(tmp_path / "s1a-iw-grd-vv.tif").encoding["raster"]
    profile = image.encoding["raster"]
    assert list(image.band.values) == ["vh", "vv"]
    assert [point[:5] for point in profile.gcps] == [point[:5] for point in alone.gcps]
    assert image.valid.values.sum() == 2 * values.size - 2


def test_palettes_stay_palettes(tmp_path):
    for name in ("a", "b"):
        table = {at: (at, 0, 0, 255) for at in range(256)}
        write(
            tmp_path / f"{name}.tif",
            numbers(1).astype("uint8"),
            dress=lambda dst, table=table: dst.write_colormap(1, table),
        )
    assert io.open(tmp_path).encoding["raster"].bands[1].colormap[7] == (7, 0, 0, 255)


def _pair(folder: Path, **other) -> Path:
    write(folder / "B1.tif", numbers(1))
    values = other.pop("values", numbers(2))
    write(folder / other.pop("name", "B2.tif"), values, **other)
    return folder


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"values": numbers(1, 40)}, "different grids: 48 x 48 and 40 x 40 pixels"),
        ({"transform": ORIGIN @ Affine.translation(1, 0)}, "different grids: their transforms are"),
        ({"crs": "EPSG:32631"}, "different grids: their CRS are EPSG:32630 and EPSG:32631"),
        ({"name": f"{LANDSAT}_B2.TIF"}, "no parts of one scene"),
        ({"name": "again_B1.tif"}, "are both band B1"),
        ({"values": np.zeros((3, 48, 48), np.uint8)}, "B2.tif: has 3 bands"),
        ({"values": np.zeros((48, 48), np.complex64)}, "B2.tif: pixels are complex64"),
    ],
)
def test_files_that_make_no_image_are_refused_by_name(tmp_path, other, message):
    with pytest.raises(InputError, match=message) as caught:
        io.open(_pair(tmp_path, **other))
    named = other.get("name", "B2.tif")
    assert str(tmp_path / named) in str(caught.value)


def test_two_scenes_in_a_folder_are_refused(landsat):
    write(landsat / "LC08_L1TP_017051_20160105_20200908_02_T1_B2.TIF", numbers(1))
    with pytest.raises(InputError, match=r"20151205.*20160105.*no parts of one scene"):
        io.open(landsat)


def test_folders_and_patterns_without_bands_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"has no .tif.* files"):
        io.open(tmp_path)
    with pytest.raises(InputError, match="the pattern matches no file"):
        io.open(tmp_path / "*.tif")
    write(tmp_path / "QA_PIXEL.tif", numbers(1))
    with pytest.raises(InputError, match="1 quality or auxiliary rasters only"):
        io.open(tmp_path)
    with pytest.raises(InputError, match=r"rasters only, as .*QA_PIXEL.tif"):
        io.open(tmp_path / "*.tif")
    with pytest.raises(InputError, match="list of files is empty"):
        io.open([])
    with pytest.raises(InputError, match=r"none.tif: no such file"):
        io.open([tmp_path / "none.tif", tmp_path / "QA_PIXEL.tif"])


def test_an_unreadable_or_truncated_file_is_named(tmp_path):
    path = _pair(tmp_path, tiled=True, blockxsize=16, blockysize=16) / "B2.tif"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"B2.tif: (truncated|cannot be opened)"):
        io.open(tmp_path)
    path.write_text("no raster")
    with pytest.raises(InputError, match=r"B2.tif: cannot be opened as a raster"):
        io.open(tmp_path)


def test_damage_met_while_reading_names_the_file_and_no_xml(tmp_path):
    path = _pair(tmp_path, compress="deflate", tiled=True, blockxsize=16, blockysize=16) / "B2.tif"
    with rasterio.open(path) as src:
        start = int(src.get_tag_item("BLOCK_OFFSET_1_1", "TIFF", bidx=1))
    content = bytearray(path.read_bytes())
    content[start : start + 40] = b"\xff" * 40
    path.write_bytes(content)
    image = io.open(tmp_path)
    assert np.isfinite(image.isel(band=0).values).all()
    with pytest.raises(InputError, match=r"B1.tif and 1 more: cannot be read") as caught:
        image.isel(band=1).load()
    assert "<" not in str(caught.value)


def test_a_folder_of_one_raster_is_that_raster(tmp_path):
    write(tmp_path / "stack.tif", np.stack([numbers(1), numbers(2)]))
    assert io.open(tmp_path).shape == (2, 48, 48)
    assert io.open([tmp_path / "stack.tif"]).encoding["raster"] == io.open(tmp_path / "stack.tif").encoding["raster"]


def test_only_windows_are_read_and_only_of_the_bands_asked_for(tmp_path, monkeypatch):
    windows = []

    def counted(src, indexes, window, dtype):
        windows.append((list(indexes), window))
        return src.read(list(indexes), window=window, out_dtype=dtype)

    monkeypatch.setattr("sciddiff.io.pixels.read_stored", counted)
    image = io.open(_pair(tmp_path))
    assert windows == []
    image.isel(band=[1], y=slice(10, 20), x=slice(5, 8)).load()
    assert windows == [([2], Window(5, 10, 3, 10))]


def test_a_scene_may_be_pickled_and_read_by_threads(l2a):
    image = io.open(l2a, bands=["B02", "B08"])
    copy = pickle.loads(pickle.dumps(image))
    parts: dict[int, np.ndarray] = {}

    def read(at: int) -> None:
        parts[at] = copy.isel(y=slice(8 * at, 8 * at + 8)).values

    threads = [threading.Thread(target=read, args=(at,)) for at in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    joined = np.concatenate([parts[at] for at in range(6)], axis=1)
    np.testing.assert_array_equal(joined, image.values)


def test_a_scene_is_saved_with_its_meaning(l2a, tmp_path):
    image = io.open(l2a, bands=["B02", "B08"])
    io.save(image, tmp_path / "out.tif")
    back = io.open(tmp_path / "out.tif")
    np.testing.assert_array_equal(back.values, image.values)
    assert list(back.band.values) == ["B02", "B08"]
    np.testing.assert_array_equal(stored(tmp_path / "out.tif"), stored(next(l2a.rglob("*_B02_10m.jp2"))))


def test_vrt_and_archives_open(tmp_path):
    path = write(tmp_path / "a.tif", np.stack([numbers(1), numbers(2)]), nodata=600)
    vrt = tmp_path / "a.vrt"
    rasterio.shutil.copy(path, vrt, driver="VRT")
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.write(path, "inside/a.tif")
    expected = io.open(path)
    for source in (vrt, archive, f"/vsizip/{archive}/inside/a.tif"):
        np.testing.assert_array_equal(io.open(source).values, expected.values)
        assert io.grid_of(io.open(source)) == io.grid_of(expected)
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as zipped:
        for name in ("b1.tif", "b2.tif"):
            zipped.write(write(tmp_path / "bands" / name, numbers(3)), name)
    parts = [f"/vsizip/{tmp_path}/two.zip/{name}" for name in ("b1.tif", "b2.tif")]
    assert list(io.open(parts).band.values) == ["B1", "B2"]
    assert files_of(parts) == [tmp_path / "two.zip"]
    with pytest.raises(InputError, match=r"two.zip: cannot be opened"):
        io.open(tmp_path / "two.zip")


def test_files_behind_an_input(l2a, landsat, tmp_path):
    assert set(files_of(l2a)) == {
        *(path for path in l2a.rglob("IMG_DATA/*/*_B*.jp2")),
        l2a / "MTD_MSIL2A.xml",
    }
    bands = [landsat / f"{LANDSAT}_B{number}.TIF" for number in (2, 3, 8, 10)]
    assert files_of(landsat) == [bands[0], landsat / f"{LANDSAT}_MTL.txt", *bands[1:]]
    path = write(tmp_path / "a.tif", numbers(1))
    (tmp_path / "a.tif.aux.xml").write_text("<PAMDataset/>")
    rasterio.shutil.copy(path, tmp_path / "a.vrt", driver="VRT")
    assert files_of(tmp_path / "a.tif") == [path, tmp_path / "a.tif.aux.xml"]
    assert files_of(str(tmp_path / "a.vrt")) == [tmp_path / "a.vrt", path]
    assert files_of([path, str(bands[0])]) == [
        path,
        tmp_path / "a.tif.aux.xml",
        bands[0],
        bands[0].parent / f"{LANDSAT}_MTL.txt",
    ]
    with pytest.raises(InputError, match="no such file"):
        files_of(tmp_path / "none.tif")


RANGES = """
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Ranges(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        wanted, path = self.headers.get("Range"), Path(self.translate_path(self.path))
        if wanted is None or not path.is_file():
            super().do_GET()
            return
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        content = path.read_bytes()
        part = content[int(first) : int(last) + 1 if last else None]
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{int(first) + len(part) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part)


server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Ranges, directory=sys.argv[1]))
print(server.server_port, flush=True)
server.serve_forever()
"""


@pytest.fixture
def server(tmp_path):
    """A server of parts of files, as object stores are; a process of its own, for GDAL may hold the interpreter."""
    with subprocess.Popen([sys.executable, "-c", RANGES, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        process.terminate()


def test_addresses_open_alone_and_as_bands(server, tmp_path):
    for number in (1, 2):
        write(tmp_path / f"B{number}.tif", numbers(number), nodata=600)
    alone = io.open(f"{server}/B1.tif")
    np.testing.assert_array_equal(alone.values, io.open(tmp_path / "B1.tif").values)
    assert alone.encoding["raster"].source.size is None
    both = io.open([f"{server}/B2.tif", f"/vsicurl/{server}/B1.tif"])
    assert list(both.band.values) == ["B2", "B1"]
    np.testing.assert_array_equal(both.values, io.open([tmp_path / "B2.tif", tmp_path / "B1.tif"]).values)
    assert files_of([f"{server}/B2.tif"]) == []
    with pytest.raises(InputError, match=rf"{server}/none.tif: cannot be opened as a raster"):
        io.open(f"{server}/none.tif")


def test_the_folder_of_a_granule_is_its_scene_as_messages_say(l2a):
    granule = next((l2a / "GRANULE").iterdir())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scene = io.open(l2a)
        for folder in (granule, granule / "IMG_DATA"):
            xr.testing.assert_identical(
                io.open(folder).drop_vars("valid"), scene.drop_vars("valid").rename(folder.name)
            )


def test_an_archive_of_several_rasters_tells_how_to_give_one(tmp_path):
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as zipped:
        for name in ("b1.tif", "b2.tif"):
            zipped.write(write(tmp_path / name, numbers(3)), f"in/{name}")
    with pytest.raises(InputError, match=r"holds 2 rasters: give one as (\S+), or unpack them all") as caught:
        io.open(tmp_path / "two.zip")
    named = str(caught.value).partition("give one as ")[2].partition(", or")[0]
    np.testing.assert_array_equal(io.open(named).values[0], numbers(3))
