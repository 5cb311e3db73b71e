"""Writing rasters: every bit and every field, whole or absent."""

import os
import signal
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
import tifffile
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning

from sciddiff import io
from sciddiff.errors import InputError, OutputError, OutputExistsError
from sciddiff.io import RasterWarning, RasterWriter
from tests.zoo import compare_rasters, facts, make_zoo, pixels

NORTH_UP = Affine(10, 0, 440280, 0, -10, 3159720)
GRID = GeoBox((40, 50), NORTH_UP, "EPSG:32616")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    return make_zoo(tmp_path_factory.mktemp("zoo"))


def image_of(values, **options):
    values = np.asarray(values, np.float32)
    names = [f"b{at}" for at in range(len(values))]
    return io.from_array(values, grid=GeoBox(values.shape[1:], NORTH_UP, "EPSG:32616"), bands=names, **options)


def noise(*shape):
    return np.random.default_rng(0).normal(10, 3, shape).astype(np.float32)


def only(folder, *names):
    return sorted(path.name for path in folder.iterdir()) == sorted(names)


# --- nothing is lost


def test_opening_and_saving_changes_nothing(zoo, tmp_path):
    for name, path in zoo.items():
        io.save(io.open(path), tmp_path / f"{name}.tif")
        compare_rasters(path, tmp_path / f"{name}.tif")
    assert only(tmp_path, *(f"{name}.tif" for name in zoo))


def test_saving_twice_changes_nothing(zoo, tmp_path):
    for name in ("alpha", "internal_mask", "float32_nan", "names_units_tags", "sentinel2_0400"):
        io.save(io.open(zoo[name]), tmp_path / "one.tif", overwrite=True)
        io.save(io.open(tmp_path / "one.tif"), tmp_path / "two.tif", overwrite=True)
        compare_rasters(zoo[name], tmp_path / "two.tif")


def test_writing_in_tiles_of_any_size_and_order_changes_nothing(zoo, tmp_path):
    rng = np.random.default_rng(3)
    for name in ("internal_mask", "alpha", "float32_nodata_and_nan", "gcps", "one_row", "palette"):
        image = io.open(zoo[name])
        _, height, width = image.shape
        corners = [(row, col) for row in range(0, height, 33) for col in range(0, width, 17)]
        path = tmp_path / f"{name}.tif"
        with RasterWriter(
            path, grid=io.grid_of(image), bands=list(image.band.values), profile=image.encoding["raster"]
        ) as writer:
            for at in rng.permutation(len(corners)):
                row, col = corners[at]
                writer.write(*io.read_window(image, slice(row, row + 33), slice(col, col + 17)), row, col)
        compare_rasters(zoo[name], path)


def test_real_rasters_come_back(realdata, tmp_path):
    for path in sorted((realdata / "rs").glob("*.tif")):
        if path.stat().st_size < 2e6:
            io.save(io.open(path), tmp_path / path.name)
            compare_rasters(path, tmp_path / path.name)


def test_real_xmp_and_point_gcps_come_back(tmp_path):
    path = tmp_path / "in.tif"
    xmp = '<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/" a="b=c"/>'
    first, _, rest = xmp.partition("=")
    points = [
        rasterio.control.GroundControlPoint(row, col, col / 7, -row / 5, 0.0, id=str(at))
        for at, (row, col) in enumerate([(0, 0), (0, 9), (8, 0), (8, 9)], 1)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", driver="GTiff", height=8, width=9, count=1, dtype="uint8") as dst:
            dst.update_tags(ns="xml:XMP", **{first: rest})
            dst.update_tags(AREA_OR_POINT="Point")
            dst.gcps = points, rasterio.crs.CRS.from_epsg(4326)
            dst.write(np.ones((1, 8, 9), np.uint8))
    io.save(io.open(path), tmp_path / "out.tif")
    compare_rasters(path, tmp_path / "out.tif")


def test_a_crop_keeps_its_pixels_and_its_place(zoo, tmp_path):
    for name in (
        "plain_uint16",
        "rotated",
        "internal_mask",
        "alpha",
        "float32_nodata_and_nan",
        "palette",
        "sentinel2_0400",
    ):
        path = tmp_path / f"{name}.tif"
        image = io.open(zoo[name])
        io.save(image[:, 3:50, 7:80], path)
        whole, masks = pixels(zoo[name])
        found, found_masks = pixels(path)
        np.testing.assert_array_equal(found, whole[:, 3:50, 7:80])
        np.testing.assert_array_equal(found_masks, masks[:, 3:50, 7:80])
        assert io.grid_of(io.open(path)) == io.grid_of(image)[3:50, 7:80]
        expected, said = facts(zoo[name]), facts(path)
        for field in set(expected) - {"shape", "transform"}:
            assert said[field] == expected[field], (name, field)


def test_bands_in_another_order_keep_what_is_theirs(zoo, tmp_path):
    image = io.open(zoo["names_units_tags"]).isel(band=[3, 0])
    io.save(image, tmp_path / "two.tif")
    with rasterio.open(tmp_path / "two.tif") as src:
        assert src.descriptions == ("B8", "B2")
        assert src.units == ("m", "W/m2")
        np.testing.assert_array_equal(src.read(), pixels(zoo["names_units_tags"])[0][[3, 0]])
    io.save(io.open(zoo["names_units_tags"]).sel(band="B3"), tmp_path / "one.tif")
    with rasterio.open(tmp_path / "one.tif") as src:
        assert src.tags(1) == {"GAIN": "high"}


# --- grids move, and what belongs to them


def corner_of(points, crs, lon, lat):
    with rasterio.transform.GCPTransformer(points) as transformer:
        rows, cols = transformer.rowcol([lon], [lat], op=float)
    return np.array([np.ravel(rows)[0], np.ravel(cols)[0]])


def rpc_place(rpcs, lon, lat):
    with rasterio.transform.RPCTransformer(rpcs, RPC_HEIGHT=100) as transformer:
        rows, cols = transformer.rowcol([lon], [lat], op=float)
    return np.array([np.ravel(rows)[0], np.ravel(cols)[0]])


@pytest.mark.parametrize("ratio", [2, 4, 0.5])
def test_gcps_and_rpcs_of_a_finer_grid_see_the_same_ground(zoo, ratio):
    gcps = io.open(zoo["gcps"]).encoding["raster"]
    moved = io.rescale_profile(gcps, ratio)
    for old, new in zip(gcps.gcps, moved.gcps, strict=True):
        assert (new.row, new.col) == (old.row * ratio, old.col * ratio)
        assert new[2:] == old[2:]
    rpcs = io.open(zoo["rpcs"]).encoding["raster"]
    for lon, lat in ((7.5, 45.25), (7.6, 45.3)):
        old = rpc_place(rpcs.rpcs, lon, lat)
        new = rpc_place(io.rescale_profile(rpcs, ratio).rpcs, lon, lat)
        np.testing.assert_allclose(new, ratio * old, atol=1e-6)  # GDAL counts from the corner of the first pixel


def test_a_crop_moves_gcps_and_rpcs(zoo, tmp_path):
    io.save(io.open(zoo["gcps"])[:, 10:, 20:], tmp_path / "gcps.tif")
    before, after = facts(zoo["gcps"])["gcps"], facts(tmp_path / "gcps.tif")["gcps"]
    assert [(row - 10, col - 20, *rest) for row, col, *rest in before] == [tuple(point) for point in after]
    with pytest.warns(RasterWarning, match="RPCs are not kept"):
        io.save(io.open(zoo["rpcs"])[:, ::-1], tmp_path / "turned.tif")
    rpcs = io.open(zoo["rpcs"])
    io.save(rpcs[:, 10:, 20:], tmp_path / "rpcs.tif")
    old = rpc_place(rpcs.encoding["raster"].rpcs, 7.5, 45.25)
    new = rpc_place(io.open(tmp_path / "rpcs.tif").encoding["raster"].rpcs, 7.5, 45.25)
    np.testing.assert_allclose(new, old - (10, 20), atol=1e-6)


def test_a_finer_grid_keeps_all_that_belongs_to_bands(zoo, tmp_path):
    image = io.open(zoo["names_units_tags"])
    fine = io.grid_of(image).zoom_out(1 / 2)
    values = np.repeat(np.repeat(image.values, 2, 1), 2, 2)
    with RasterWriter(
        tmp_path / "fine.tif", grid=fine, bands=list(image.band.values), profile=image.encoding["raster"]
    ) as writer:
        writer.write(values, np.isfinite(values), 0, 0)
    expected, said = facts(zoo["names_units_tags"]), facts(tmp_path / "fine.tif")
    assert said["transform"] == fine.affine
    for field in set(expected) - {"shape", "transform"}:
        assert said[field] == expected[field], field


def test_statistics_of_other_pixels_are_named_as_dropped(zoo, tmp_path):
    path = tmp_path / "in.tif"
    path.write_bytes(zoo["plain_uint16"].read_bytes())
    with rasterio.open(path, "r+") as dst:
        dst.update_tags(1, STATISTICS_MEAN="3", KEEP="me")
    io.save(io.open(path), tmp_path / "same.tif")
    compare_rasters(path, tmp_path / "same.tif")
    with pytest.warns(RasterWarning, match="STATISTICS_"):
        io.save(io.open(path)[:, 1:], tmp_path / "crop.tif")
    with rasterio.open(tmp_path / "crop.tif") as src:
        assert src.tags(1) == {"KEEP": "me"}


def test_pixels_a_centimetre_of_plain_tiffs_follow_the_grid(tmp_path):
    sides = 1e4 / 0.065, 1e4 / 0.3
    tifffile.imwrite(tmp_path / "in.tif", np.ones((8, 8), np.uint16), resolution=sides, resolutionunit="CENTIMETER")
    image = io.open(tmp_path / "in.tif")
    fine = io.grid_of(image).zoom_out(1 / 2)
    io.save(image[:, 1:, 1:], tmp_path / "crop.tif")
    with RasterWriter(
        tmp_path / "fine.tif", grid=fine, bands=list(image.band.values), profile=image.encoding["raster"].rescaled(2)
    ) as writer:
        writer.write(np.ones((1, 16, 16)), np.ones((1, 16, 16), bool), 0, 0)
    for name, ratio in {"crop": 1, "fine": 2}.items():
        with tifffile.TiffFile(tmp_path / f"{name}.tif") as tiff:
            tags = tiff.pages.first.tags
            found = [np.divide(*tags[f"{axis}Resolution"].value) for axis in "XY"]
            assert found == pytest.approx([ratio * side for side in sides]), name
            assert tags["ResolutionUnit"].value == 3


# --- images that are not from a file as they stand


def test_plain_arrays_are_float32_with_nan(tmp_path):
    values = noise(2, 40, 50)
    values[0, 3, 4] = np.nan
    io.save(image_of(values, units="K"), tmp_path / "plain.tif")
    with rasterio.open(tmp_path / "plain.tif") as src:
        assert (src.dtypes[0], src.descriptions, src.units) == ("float32", ("b0", "b1"), ("K", "K"))
        assert np.isnan(src.nodata)
    again = io.open(tmp_path / "plain.tif")
    np.testing.assert_array_equal(again.values, values)
    assert io.grid_of(again) == GeoBox((40, 50), NORTH_UP, "EPSG:32616")


def test_an_image_after_arithmetic_keeps_grid_and_names(zoo, tmp_path):
    image = io.open(zoo["uint16_scale_offset"])
    result = (image * 2 + 1)[:, 5:]
    io.save(result, tmp_path / "out.tif")
    again = io.open(tmp_path / "out.tif")
    assert again.dtype == np.float32
    np.testing.assert_array_equal(again.values, result.values)
    np.testing.assert_array_equal(again.valid.values, result.valid.values)
    assert io.grid_of(again) == io.grid_of(result)
    assert list(again.band.values) == list(image.band.values)


def test_what_is_invalid_stays_invalid_when_filled(zoo, tmp_path):
    image = io.open(zoo["int16_nodata"])
    io.save(image.fillna(0), tmp_path / "out.tif")
    np.testing.assert_array_equal(io.open(tmp_path / "out.tif").valid.values, image.valid.values)


def test_foreign_arrays(tmp_path):
    io.save(xr.DataArray(np.ones((4, 5)), dims=("y", "x")), tmp_path / "bare.tif")
    assert io.open(tmp_path / "bare.tif").dtype == np.float64
    assert io.grid_of(io.open(tmp_path / "bare.tif")).affine.is_identity
    with pytest.raises(InputError, match="needs band, y, x"):
        io.save(xr.DataArray(np.ones((4, 5)), dims=("lat", "lon")), tmp_path / "no.tif")
    with pytest.raises(InputError, match="real numbers"):
        io.save(xr.DataArray(np.ones((4, 5), complex), dims=("y", "x")), tmp_path / "no.tif")
    with pytest.raises(InputError, match="empty"):
        io.save(xr.DataArray(np.ones((0, 5)), dims=("y", "x")), tmp_path / "no.tif")
    assert only(tmp_path, "bare.tif")


def write(path, values, valid=None, **options):
    values = np.asarray(values, np.float32)
    names = [f"b{at}" for at in range(len(values))]
    valid = np.isfinite(values) if valid is None else valid
    with RasterWriter(path, grid=GeoBox(values.shape[1:], NORTH_UP, None), bands=names, **options) as writer:
        half = values.shape[1] // 2
        writer.write(values[:, :half], valid[..., :half, :], 0, 0)
        writer.write(values[:, half:], valid[..., half:, :], half, 0)


def test_integers_without_nodata_get_a_mask_when_they_need_one(tmp_path):
    values = np.full((2, 8, 9), 0.0)
    values[:, 6, 3] = np.nan
    with pytest.warns(RasterWarning, match=r"out\.tif: has invalid pixels and no nodata value: a mask is written"):
        write(tmp_path / "out.tif", values, dtype="uint8")
    again = io.open(tmp_path / "out.tif")
    np.testing.assert_array_equal(again.valid.values, np.isfinite(values))
    write(tmp_path / "full.tif", np.zeros((2, 8, 9)), dtype="uint8")
    assert not io.open(tmp_path / "full.tif").encoding["raster"].mask


def test_a_pixel_invalid_in_one_band_is_masked_in_all_without_nodata(zoo, tmp_path):
    profile = io.open(zoo["internal_mask"]).encoding["raster"]
    values = np.ones((3, 70, 90), np.float32)
    values[1, 5, 6] = np.nan
    with (
        pytest.warns(RasterWarning, match="masked in all"),
        RasterWriter(
            tmp_path / "out.tif", grid=GeoBox((70, 90), Affine.scale(3), None), bands=profile.names, profile=profile
        ) as writer,
    ):
        writer.write(values, np.isfinite(values), 0, 0)
    valid = io.open(tmp_path / "out.tif").valid.values
    assert not valid[:, 5, 6].any()
    assert valid.sum() == valid.size - 3


def test_clipping_is_reported(tmp_path):
    with pytest.warns(RasterWarning, match="2 values were clipped to the range of uint8"):
        write(tmp_path / "out.tif", [[[-3, 4], [5, 256]]], dtype="uint8")
    np.testing.assert_array_equal(io.open(tmp_path / "out.tif").values, [[[0, 4], [5, 255]]])


def test_newly_invalid_pixels_do_not_keep_their_value(zoo, tmp_path):
    image = io.open(zoo["internal_mask"])
    profile = image.encoding["raster"]
    masked = image.where(image > 30)
    masked.encoding["raster"] = profile
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RasterWarning)  # pixels differ by band
        io.save(masked, tmp_path / "out.tif")
    stored, before = pixels(tmp_path / "out.tif")[0], pixels(zoo["internal_mask"])[0]
    valid = image.valid.values
    assert (stored[valid & (before <= 30)] == 0).all()
    np.testing.assert_array_equal(stored[~valid], before[~valid])


def test_hidden_pixels_are_zero_when_the_source_is_gone(zoo, tmp_path):
    path = tmp_path / "in.tif"
    path.write_bytes(zoo["internal_mask"].read_bytes())
    image = io.open(path).load()
    path.unlink()
    io.save(image, tmp_path / "out.tif")
    again = io.open(tmp_path / "out.tif")
    np.testing.assert_array_equal(again.values, image.values)
    assert (pixels(tmp_path / "out.tif")[0][~image.valid.values] == 0).all()


def test_another_type_is_announced_and_means_the_same(zoo, tmp_path):
    for name in ("sentinel2_0400", "uint16_scale_offset", "alpha", "int16_nodata"):
        image = io.open(zoo[name])
        path = tmp_path / f"{name}.tif"
        with (
            pytest.warns(RasterWarning, match="stored as float32 instead of"),
            RasterWriter(
                path,
                grid=io.grid_of(image),
                bands=list(image.band.values),
                profile=image.encoding["raster"],
                dtype="float32",
            ) as writer,
        ):
            writer.write(*io.read_window(image, slice(None), slice(None)), 0, 0)
        again = io.open(path)
        np.testing.assert_array_equal(again.values, image.values)
        assert again.encoding["raster"].names == image.encoding["raster"].names
    with (
        pytest.warns(RasterWarning, match="stored as uint8 instead of int16, with nodata 255 instead of -9999"),
        RasterWriter(
            tmp_path / "small.tif",
            grid=io.grid_of(image),
            bands=list(image.band.values),
            profile=image.encoding["raster"],
            dtype="uint8",
        ) as writer,
    ):
        writer.write(np.full(image.shape, 7.0), image.valid.values, 0, 0)
    np.testing.assert_array_equal(io.open(tmp_path / "small.tif").valid.values, image.valid.values)


def test_what_geotiff_cannot_say_is_named(zoo, tmp_path):
    sources = "".join(
        f'<VRTRasterBand dataType="UInt16" band="{at}"><NoDataValue>{at}</NoDataValue><SimpleSource>'
        f"<SourceFilename>{zoo['plain_uint16']}</SourceFilename><SourceBand>{at}</SourceBand></SimpleSource></VRTRasterBand>"
        for at in (1, 2)
    )
    (tmp_path / "two.vrt").write_text(f'<VRTDataset rasterXSize="90" rasterYSize="70">{sources}</VRTDataset>')
    image = io.open(tmp_path / "two.vrt")
    with pytest.warns(RasterWarning, match="one nodata value for all bands: 1"):
        io.save(image, tmp_path / "out.tif")
    np.testing.assert_array_equal(io.open(tmp_path / "out.tif").valid.values, image.valid.values)


# --- whole or absent


def test_what_exists_is_not_overwritten(zoo, tmp_path):
    path = tmp_path / "out.tif"
    path.write_bytes(b"precious")
    with pytest.raises(OutputExistsError, match=r"out\.tif: exists already"):
        io.save(image_of(noise(1, 8, 9)), path)
    assert path.read_bytes() == b"precious"
    assert only(tmp_path, "out.tif")
    for stale in (".aux.xml", ".msk", ".ovr"):
        (tmp_path / f"out.tif{stale}").write_text("of the old file")
    io.save(image_of(noise(1, 8, 9)), path, overwrite=True)
    assert only(tmp_path, "out.tif")
    np.testing.assert_array_equal(io.open(path).values, noise(1, 8, 9))


def test_an_image_may_replace_its_own_file(zoo, tmp_path):
    path = tmp_path / "own.tif"
    path.write_bytes(zoo["internal_mask"].read_bytes())
    io.save(io.open(path), path, overwrite=True)
    compare_rasters(zoo["internal_mask"], path)


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_an_error_inside_leaves_nothing(tmp_path, kind):
    def fail():
        with RasterWriter(tmp_path / "out.tif", grid=GRID, bands=["a"]) as writer:
            writer.write(np.ones((1, 40, 50)), np.ones((1, 40, 50), bool), 0, 0)
            raise kind("stop")

    with pytest.raises(kind):
        fail()
    assert only(tmp_path)


def test_a_failed_overwrite_leaves_the_old_file(zoo, tmp_path):
    path = tmp_path / "out.tif"
    path.write_bytes(b"precious")
    image = io.open(zoo["tiled"])
    with pytest.raises(OutputError, match="does not know COMPRESS=NONSENSE"):
        io.save(image, path, overwrite=True, creation_options={"COMPRESS": "NONSENSE"})
    assert path.read_bytes() == b"precious"
    assert only(tmp_path, "out.tif")


def test_missing_windows_are_an_error(tmp_path):
    with (
        pytest.raises(OutputError, match="1000 pixels were written of 2000"),
        RasterWriter(tmp_path / "out.tif", grid=GRID, bands=["a"]) as writer,
    ):
        writer.write(np.ones((1, 20, 50)), np.ones((1, 20, 50), bool), 0, 0)
    assert only(tmp_path)


def test_windows_that_do_not_fit_are_an_error(tmp_path):
    for row, col, shape in ((30, 0, (1, 20, 50)), (0, 1, (1, 20, 50)), (-1, 0, (1, 20, 50)), (0, 0, (2, 20, 50))):
        with (
            pytest.raises(OutputError, match="does not fit"),
            RasterWriter(tmp_path / "out.tif", grid=GRID, bands=["a"]) as writer,
        ):
            writer.write(np.ones(shape), np.ones(shape, bool), row, col)
    assert only(tmp_path)


def test_pixels_that_read_back_differently_are_an_error(tmp_path, monkeypatch):
    copy = rasterio.shutil.copy

    def faulty(source, target, **options):
        with rasterio.open(source, "r+") as dst:
            dst.write(np.array([[[7.0]]], np.float32), window=rasterio.windows.Window(30, 20, 1, 1))
        copy(source, target, **options)

    monkeypatch.setattr(rasterio.shutil, "copy", faulty)
    with pytest.raises(OutputError, match="read back differently"):
        io.save(image_of(noise(1, 40, 50)), tmp_path / "out.tif")
    assert only(tmp_path)


def test_folders_that_cannot_be_written_to(tmp_path):
    image = image_of(noise(1, 8, 9))
    with pytest.raises(OutputError, match="does not exist"):
        io.save(image, tmp_path / "gone" / "out.tif")
    (tmp_path / "folder.tif").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        io.save(image, tmp_path / "folder.tif")
    with pytest.raises(OutputError, match=r"ends in \.tif"):
        io.save(image, tmp_path / "out.png")
    if Path("/proc").is_dir():
        with pytest.raises(OutputError, match="cannot be written to"):
            io.save(image, "/proc/out.tif")


def run(code, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    script = textwrap.dedent(code)
    return subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_kill_leaves_nothing_at_the_final_path(tmp_path):
    (tmp_path / "out.tif").write_bytes(b"precious")
    done = run(
        """
        import os, signal, sys
        import numpy as np, rasterio.shutil
        from odc.geo.geobox import GeoBox
        from affine import Affine
        from sciddiff.io import RasterWriter
        copy = rasterio.shutil.copy
        def killed(*args, **options):
            copy(*args, **options)
            os.kill(os.getpid(), signal.SIGKILL)
        rasterio.shutil.copy = killed
        grid = GeoBox((8, 9), Affine.scale(2), None)
        with RasterWriter(sys.argv[1] + "/out.tif", grid=grid, bands=["a"], overwrite=True) as writer:
            writer.write(np.ones((1, 8, 9)), np.ones((1, 8, 9), bool), 0, 0)
        """,
        tmp_path,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert (tmp_path / "out.tif").read_bytes() == b"precious"


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
@pytest.mark.parametrize("limit", [200_000, 3_000_000])
def test_a_full_disk_leaves_nothing(tmp_path, limit):
    done = run(
        f"""
        import resource, signal, sys
        import numpy as np
        from odc.geo.geobox import GeoBox
        from affine import Affine
        from sciddiff.errors import OutputError
        from sciddiff.io import RasterWriter
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        values = np.random.default_rng(0).normal(size=(1, 900, 900))
        resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
        try:
            grid = GeoBox((900, 900), Affine.scale(2), None)
            with RasterWriter(sys.argv[1] + "/out.tif", grid=grid, bands=["a"]) as writer:
                writer.write(values, np.isfinite(values), 0, 0)
        except OutputError as error:
            print("OutputError", error)
        """,
        tmp_path,
    )
    assert done.stdout.startswith("OutputError"), (done.stdout, done.stderr)
    assert only(tmp_path)


# --- how it is stored


def test_the_file_is_a_cog_with_averaged_overviews(tmp_path):
    values = noise(1, 1200, 1100)
    io.save(image_of(values), tmp_path / "out.tif", provenance={"MODEL": "sr-x4", "SEED": "7"})
    with rasterio.open(tmp_path / "out.tif") as src:
        assert src.tags(ns="IMAGE_STRUCTURE") == {
            "LAYOUT": "COG",
            "COMPRESSION": "DEFLATE",
            "INTERLEAVE": "BAND",
            "PREDICTOR": "3",
        }
        assert src.tags(ns="SCIDDIFF") == {"MODEL": "sr-x4", "SEED": "7"}
        assert src.overviews(1) == [2, 4]
        half = src.read(1, out_shape=(600, 550))
    np.testing.assert_allclose(half, values[0].reshape(600, 2, 550, 2).mean((1, 3)), rtol=1e-5)


def test_band_tags_and_provenance_in_a_cog(zoo, tmp_path):
    io.save(io.open(zoo["sentinel2_0400"]), tmp_path / "out.tif", provenance={"MODEL": "m"})
    compare_rasters(zoo["sentinel2_0400"], tmp_path / "out.tif")
    with rasterio.open(tmp_path / "out.tif") as src:
        assert src.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert src.tags(ns="SCIDDIFF") == {"MODEL": "m"}


def test_palette_overviews_are_colours_of_the_palette(tmp_path, zoo):
    profile = io.open(zoo["palette"]).encoding["raster"]
    values = np.where(np.indices((1, 1100, 1100)).sum(0) % 2, 10.0, 200.0)
    with RasterWriter(
        tmp_path / "out.tif", grid=GeoBox((1100, 1100), NORTH_UP, None), bands=profile.names, profile=profile
    ) as writer:
        writer.write(values, np.isfinite(values), 0, 0)
    with rasterio.open(tmp_path / "out.tif") as src:
        assert src.colorinterp == (ColorInterp.palette,)
        assert set(np.unique(src.read(1, out_shape=(550, 550)))) <= {10, 200}


def test_creation_options_pass_as_they_are(tmp_path):
    io.save(
        image_of(noise(3, 300, 300)), tmp_path / "out.tif", creation_options={"compress": "LZW", "BLOCKSIZE": "256"}
    )
    with rasterio.open(tmp_path / "out.tif") as src:
        assert src.tags(ns="IMAGE_STRUCTURE")["COMPRESSION"] == "LZW"
        assert src.block_shapes[0] == (256, 256)
    with pytest.warns(RasterWarning, match="cannot keep colour interpretation of band b0"):
        write(tmp_path / "photo.tif", noise(3, 300, 300) + 50, dtype="uint8", creation_options={"COMPRESS": "JPEG"})
    with rasterio.open(tmp_path / "photo.tif") as src:
        assert src.tags(ns="IMAGE_STRUCTURE")["COMPRESSION"].endswith("JPEG")


def test_a_lazy_image_is_never_held_whole(zoo, tmp_path, monkeypatch):
    sizes = []
    read = io.read_window

    def watched(image, rows, cols):
        values, valid = read(image, rows, cols)
        sizes.append(values.shape)
        return values, valid

    monkeypatch.setattr("sciddiff.io.write.WINDOW_BYTES", 2**16)
    monkeypatch.setattr("sciddiff.io.write.read_window", watched)
    io.save(io.open(zoo["tiled"]), tmp_path / "out.tif")
    assert max(height for _, height, _ in sizes) < 600
    compare_rasters(zoo["tiled"], tmp_path / "out.tif")


def test_alpha_of_a_finer_grid_says_what_is_valid(zoo, tmp_path):
    image = io.open(zoo["alpha"])
    values, valid = (np.repeat(np.repeat(part, 2, 1), 2, 2) for part in io.read_window(image, slice(None), slice(None)))
    profile = io.rescale_profile(image.encoding["raster"], 2)
    with RasterWriter(
        tmp_path / "out.tif", grid=io.grid_of(image).zoom_out(1 / 2), bands=list(image.band.values), profile=profile
    ) as writer:
        writer.write(values, valid, 0, 0)
    again = io.open(tmp_path / "out.tif")
    np.testing.assert_array_equal(again.values, values)
    np.testing.assert_array_equal(again.valid.values, valid)
    assert set(np.unique(pixels(tmp_path / "out.tif")[0][3])) == {0, 255}
