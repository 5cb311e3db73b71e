"""Microscopy files by others open as images: axes, values, sizes, names; nothing is read but what is asked for."""

import pickle
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import tifffile
import xarray as xr
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import sciddiff
from sciddiff import io
from sciddiff.errors import InputError
from sciddiff.io.stack import saturated_share, warn_saturated
from sciddiff.io.stack_files import read_stack_window
from sciddiff.io.stack_profile import Spatial
from tests.io.stacks import full_profile, numbers, ome_zarr, plain_tiff

SIZES = {"T": 2, "C": 3, "Z": 4, "Y": 5, "X": 6}


def in_order(pixels: NDArray[Any], axes: str) -> NDArray[Any]:
    """(c, t, z, y, x) of an array with the axes of a file."""
    missing = [letter for letter in "CTZ" if letter not in axes]
    whole = pixels[(None,) * len(missing)]
    letters = "".join(missing) + axes
    return whole.transpose([letters.index(letter) for letter in "CTZYX"])


@st.composite
def some_axes(draw: st.DrawFn) -> str:
    others = draw(st.lists(st.sampled_from("TCZ"), unique=True, min_size=1))
    return "".join(draw(st.permutations([*others, "Y", "X"])))


@given(axes=some_axes(), pages=st.booleans())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_axes_are_taken_as_they_are_said(tmp_path: Path, axes: str, pages: bool) -> None:
    """A file of nothing but pages has three axes, one that tifffile wrote in one piece the shape of that."""
    path, pixels = tmp_path / "pages.tif", numbers(tuple(SIZES[letter] for letter in axes))
    with tifffile.TiffWriter(path) as writer:
        for page in pixels.reshape(-1, *pixels.shape[-2:]) if pages else [pixels]:
            told = None if pages else {"axes": "QQQQ"[: pixels.ndim - 2] + "YX"}
            writer.write(page, metadata=told, photometric="minisblack")
    if pages and pixels.ndim > 3:
        with pytest.raises(InputError, match=f"has {len(axes)} letters; the file has 3 axes"):
            io.open(path, axes=axes)
        return
    image = io.open(path, axes=axes)
    expected = in_order(pixels, axes)
    assert np.array_equal(image.values, expected if image.ndim == 5 else expected[:, 0, 0])


@given(axes=some_axes().filter(lambda axes: axes.endswith("YX")), version=st.sampled_from(["ome", "imagej"]))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_axes_of_ome_and_imagej_are_read(tmp_path: Path, axes: str, version: str) -> None:
    axes = "".join(letter for letter in "TZCYX" if letter in axes) if version == "imagej" else axes
    pixels = numbers(tuple(SIZES[letter] for letter in axes))
    path = tmp_path / ("a.ome.tif" if version == "ome" else "a.tif")
    tifffile.imwrite(path, pixels, **{version: True}, metadata={"axes": axes}, photometric="minisblack")
    image = io.open(path)
    expected = in_order(pixels, axes)
    assert image.dims == (("band", "t", "z", "y", "x") if {"T", "Z"} & set(axes) else ("band", "y", "x"))
    assert np.array_equal(image.values, expected if image.ndim == 5 else expected[:, 0, 0])
    assert image.encoding["stack"].axes == axes
    assert image.dtype == np.float32
    assert image.valid.values.all()


@given(axes=some_axes(), version=st.sampled_from(["0.4", "0.5"]))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_ome_zarr_in_any_order_of_axes(tmp_path: Path, axes: str, version: str) -> None:
    path = tmp_path / "image.ome.zarr"
    shutil.rmtree(path, ignore_errors=True)
    pixels = numbers(tuple(SIZES[letter] for letter in axes))
    ome_zarr(path, pixels, axes, version=version)
    image = io.open(path)
    expected = in_order(pixels, axes)
    assert np.array_equal(image.values, expected if image.ndim == 5 else expected[:, 0, 0])
    stack = image.encoding["stack"]
    assert stack.axes == axes
    assert stack.pixel_size == pytest.approx((0.1, 0.2, 0.5) if "Z" in axes else (0.1, 0.2, None))
    assert stack.position == pytest.approx((1.0, 1.0, 1.0) if "Z" in axes else (1.0, 1.0, None))
    assert stack.pixel_unit.x == "nm"
    assert stack.names == (("red", "green", "channel_3") if "C" in axes else ("red",))
    assert stack.channels[0].colour == "FF0000FF"
    assert stack.time_increment == (2.0 if "T" in axes else None)
    grid = io.grid_of(image)
    assert grid.affine == Affine.scale(stack.pixel_size.x, stack.pixel_size.y)


def test_an_imagej_hyperstack_says_sizes_names_and_times(tmp_path: Path) -> None:
    path = tmp_path / "hyper.tif"
    lut = np.zeros((3, 256), np.uint8)
    lut[1] = np.arange(256)
    said = {"axes": "TZCYX", "unit": "\\u00B5m", "spacing": 0.5, "finterval": 2.5, "Info": "by hand", "LUTs": [lut] * 2}
    pixels = numbers((3, 4, 2, 8, 9))
    tifffile.imwrite(path, pixels, imagej=True, resolution=(10.0, 5.0), metadata=said)
    image = io.open(path)
    stack = image.encoding["stack"]
    assert stack.pixel_size == pytest.approx((0.1, 0.2, 0.5))
    assert stack.time_increment == 2.5
    assert stack.names == ("channel_1", "channel_2")
    assert stack.channels[0].colour == "00FF00FF"
    assert ("Info", "by hand") in stack.annotations[0].pairs
    assert image.coords["z"].values == pytest.approx([0, 0.5, 1, 1.5])
    assert image.coords["t"].values == pytest.approx([0, 2.5, 5])
    assert io.grid_of(image).resolution.x == pytest.approx(0.1)
    assert np.array_equal(image.values, in_order(pixels, "TZCYX"))


def test_what_imagej_says_and_we_do_not_keep_is_named(tmp_path: Path) -> None:
    labels, region = [f"plane {number}" for number in range(4)], b"Iout"
    tifffile.imwrite(tmp_path / "z.tif", numbers((4, 8, 9)), imagej=True, metadata={"axes": "ZYX", "Labels": labels})
    assert io.open(tmp_path / "z.tif").encoding["stack"].left_out == ("labels of planes",)
    told = {"axes": "CYX", "Labels": labels[:2], "Overlays": [region], "ROI": region}
    tifffile.imwrite(tmp_path / "c.tif", numbers((2, 8, 9)), imagej=True, metadata=told)
    stack = io.open(tmp_path / "c.tif").encoding["stack"]
    assert stack.names == ("plane 0", "plane 1")
    assert stack.left_out == ("overlays", "region of interest")


@pytest.mark.parametrize(("unit", "interval"), [("min", 150.0), ("ms", 0.0025), ("frame", None)])
def test_imagej_counts_time_in_the_unit_that_it_names(tmp_path: Path, unit: str, interval: float | None) -> None:
    path = tmp_path / "movie.tif"
    told = {"axes": "TYX", "finterval": 2.5, "tunit": unit}
    tifffile.imwrite(path, numbers((3, 8, 9)), imagej=True, metadata=told)
    assert io.open(path).encoding["stack"].time_increment == interval


def test_a_plane_of_imagej_keeps_its_pixel_size(tmp_path: Path) -> None:
    path = tmp_path / "plane.tif"
    tifffile.imwrite(path, numbers((8, 9)), imagej=True, resolution=(4.0, 4.0), metadata={"unit": "nm"})
    image = io.open(path)
    assert image.dims == ("band", "y", "x")
    assert image.encoding["stack"].pixel_size == Spatial(0.00025, 0.00025, None)
    assert image.encoding["stack"].pixel_unit.x == "nm"


def test_only_what_is_touched_is_read(tmp_path: Path) -> None:
    path = tmp_path / "deep.ome.tif"
    pixels = np.random.default_rng(0).integers(0, 999, (3, 2, 4, 64, 64)).astype(np.uint16)
    tifffile.imwrite(path, pixels, metadata={"axes": "TCZYX"}, compression="zlib", tile=(32, 32))
    image = io.open(path)
    with tifffile.TiffFile(path) as tiff:
        pages, good = [page.dataoffsets for page in tiff.pages], [page.databytecounts for page in tiff.pages]
    content = bytearray(path.read_bytes())
    wanted = np.ravel_multi_index((1, 1, 2), (3, 2, 4))
    for number, (offsets, lengths) in enumerate(zip(pages, good, strict=True)):
        for tile, (offset, length) in enumerate(zip(offsets, lengths, strict=True)):
            if number != wanted or tile != 3:
                content[offset : offset + length] = b"\xff" * length
    path.write_bytes(content)
    image = io.open(path)
    window = image.isel(t=1, band=1, z=2, y=slice(40, 50), x=slice(33, 64))
    assert np.array_equal(window.values, pixels[1, 1, 2, 40:50, 33:])
    values, valid = io.read_window(image.isel(t=1, z=slice(2, 3), band=[1]), slice(32, 64), slice(32, 64))
    assert np.array_equal(values[0, 0], pixels[1, 1, 2, 32:, 32:])
    assert valid.all()
    with pytest.raises(InputError, match=r"cannot be read at t 1 to 2, c 1, z 1 to 2, y 40 to 50"):
        image.isel(t=1, band=1, z=1, y=slice(40, 50), x=slice(33, 64)).load()


def test_windows_steps_and_pickles(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    pixels = numbers((3, 2, 5, 20, 21))
    tifffile.imwrite(path, pixels, metadata={"axes": "TCZYX"})
    whole = in_order(pixels, "TCZYX")
    image = pickle.loads(pickle.dumps(io.open(path)))
    steps = {
        "band": [1, 0],
        "t": slice(None, None, -1),
        "z": slice(0, 5, 2),
        "y": slice(3, 17, 3),
        "x": slice(20, 2, -4),
    }
    assert np.array_equal(image.isel(steps).values, whole[[1, 0], ::-1, ::2, 3:17:3, 20:2:-4])
    assert image.isel(z=slice(2, 2)).values.shape == (2, 3, 0, 20, 21)
    chosen = io.open(path, bands=["channel_2"])
    assert np.array_equal(chosen.values, whole[1:])
    assert chosen.encoding["stack"].names == ("channel_2",)
    assert np.array_equal(
        read_stack_window(path, 2, slice(0, 2), 3, slice(1, 4), slice(2, 9)), pixels[2, :, 3, 1:4, 2:9]
    )


def test_a_file_that_changed_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, numbers((4, 8, 9)), metadata={"axes": "ZYX"})
    image = io.open(path)
    tifffile.imwrite(path, numbers((4, 8, 9)) + 1, metadata={"axes": "ZYX"})
    assert np.array_equal(io.open(path).values[0, 0], numbers((4, 8, 9)) + 1)
    tifffile.imwrite(path, numbers((3, 8, 9)), metadata={"axes": "ZYX"})
    with pytest.raises(InputError, match="has changed since it was opened"):
        image.load()


def test_nan_is_invalid_and_types_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    pixels = numbers((4, 8, 9), "float32")
    pixels[1, 2, 3] = np.nan
    pixels[2, 0, 0] = np.inf
    tifffile.imwrite(path, pixels, metadata={"axes": "ZYX"}, byteorder=">")
    image = io.open(path)
    assert (~image.valid.values).sum() == 2
    assert np.isnan(image.values[0, 0, 2, 0, 0])
    assert image.encoding["stack"].dtype == "float32"


def test_plain_and_georeferenced_files_stay_rasters(tmp_path: Path) -> None:
    flat = plain_tiff(tmp_path / "flat.tif", numbers((8, 9)))
    assert "stack" not in io.open(flat).encoding
    shaped = tmp_path / "shaped.tif"
    tifffile.imwrite(shaped, numbers((8, 9)))
    assert "stack" not in io.open(shaped).encoding
    path = tmp_path / "geo.tif"
    placed = {"crs": "EPSG:32631", "transform": rasterio.transform.from_origin(0, 0, 10, 10)}
    with rasterio.open(path, "w", driver="GTiff", count=5, height=600, width=600, dtype="uint16", **placed) as file:
        file.write(numbers((5, 600, 600)))
        file.build_overviews([2, 4])
    assert io.open(path).dims == ("band", "y", "x")
    assert "stack" not in io.open(path).encoding
    with pytest.raises(InputError, match="is a georeferenced raster"):
        io.open(path, axes="CYX")


def test_overviews_make_no_stack(tmp_path: Path) -> None:
    path = tmp_path / "bands.tif"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(path, "w", driver="GTiff", count=2, height=600, width=600, dtype="uint8") as file:
            file.write(numbers((2, 600, 600), "uint8"))
        with rasterio.open(path, "r+") as file:
            file.build_overviews([2, 4])
    assert io.open(path).shape == (2, 600, 600)
    assert "stack" not in io.open(path).encoding


def bad_rgb(path: Path) -> None:
    tifffile.imwrite(path, np.zeros((4, 8, 9, 3), np.uint8), photometric="rgb", metadata=None)


def bad_pages(path: Path) -> None:
    with tifffile.TiffWriter(path) as writer:
        for height in (8, 8, 7):
            writer.write(numbers((height, 9)), metadata=None, photometric="minisblack")


def bad_types(path: Path) -> None:
    with tifffile.TiffWriter(path) as writer:
        for dtype in ("uint8", "uint16"):
            writer.write(numbers((8, 9), dtype), metadata=None, photometric="minisblack")


def bad_complex(path: Path) -> None:
    tifffile.imwrite(path, numbers((5, 8, 9), "complex64"), metadata={"axes": "ZYX"}, photometric="minisblack")


def bad_silent(path: Path) -> None:
    plain_tiff(path, numbers((5, 8, 9)))


def bad_ome(path: Path) -> None:
    tifffile.imwrite(path, numbers((5, 80, 90)), ome=True, metadata={"axes": "ZYX"}, compression="zlib")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def bad_imagej(path: Path) -> None:
    tifffile.imwrite(path, numbers((5, 80, 90)), imagej=True, metadata={"axes": "ZYX"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("make", "axes", "message"),
    [
        (bad_silent, None, r"does not say what its axes are \(. 5, Y 8, X 9\).*--axes ZYX"),
        (bad_silent, "ZY", "no Y and X"),
        (bad_silent, "QYX", "unknown letters Q"),
        (bad_silent, "YYX", "letters that repeat"),
        (bad_silent, "TZYX", "has 4 letters; the file has 3 axes"),
        (bad_rgb, None, "RGB where channels are expected.*--axes ZYXC"),
        (bad_pages, "ZYX", r"page 3 holds \(7, 9\) pixels of uint16, page 1 \(8, 9\)"),
        (bad_types, "ZYX", "page 2 holds .* of uint16, page 1 .* of uint8"),
        (bad_complex, "ZYX", "complex64; write amplitude or phase"),
        (bad_ome, None, "truncated or damaged"),
        (bad_imagej, None, "truncated or damaged"),
    ],
)
def test_files_that_cannot_be_used_are_refused(
    tmp_path: Path, make: Callable[[Path], None], axes: str | None, message: str
) -> None:
    path = tmp_path / ("a.ome.tif" if make is bad_ome else "a.tif")
    make(path)
    with pytest.raises(InputError, match=message) as caught:
        sciddiff.open(path, axes=axes)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("length", [0, 3, 4, 6, 8, 100])
def test_a_file_of_which_hardly_anything_arrived_is_refused(tmp_path: Path, length: int) -> None:
    path = tmp_path / "a.ome.tif"
    bad_ome(path)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(InputError, match=r"a\.ome\.tif: cannot be opened as a stack"):
        sciddiff.open(path)


def test_rgb_is_channels_if_that_is_said(tmp_path: Path) -> None:
    bad_rgb(tmp_path / "a.tif")
    image = io.open(tmp_path / "a.tif", axes="ZYXC")
    assert dict(image.sizes) == {"band": 3, "t": 1, "z": 4, "y": 8, "x": 9}


def test_axes_go_with_local_tiffs(tmp_path: Path) -> None:
    ome_zarr(tmp_path / "a.ome.zarr", numbers((2, 8, 9)), "CYX", version="0.5")
    for path in (tmp_path / "a.ome.zarr", "https://example.org/a.tif"):
        with pytest.raises(InputError, match="goes with a local TIFF"):
            io.open(path, axes="ZYX")


def test_a_second_image_is_named(tmp_path: Path) -> None:
    path = tmp_path / "two.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as writer:
        for _ in range(2):
            writer.write(numbers((4, 8, 9)), metadata={"axes": "ZYX"}, photometric="minisblack")
    with pytest.warns(io.RasterWarning, match="has 2 images; the first is read"):
        assert io.open(path).shape == (1, 1, 4, 8, 9)


def test_the_layout_of_bioformats2raw_opens(tmp_path: Path) -> None:
    import zarr

    group = zarr.create_group(tmp_path / "a.zarr", zarr_format=2)
    group.attrs["bioformats2raw.layout"] = 3
    ome_zarr(tmp_path / "a.zarr" / "0", numbers((2, 8, 9)), "CYX", version="0.4")
    assert np.array_equal(io.open(tmp_path / "a.zarr").values, numbers((2, 8, 9)))


def test_further_images_of_bioformats2raw_are_named(tmp_path: Path) -> None:
    import zarr

    group = zarr.create_group(tmp_path / "a.zarr", zarr_format=3)
    group.attrs["ome"] = {"version": "0.5", "bioformats2raw.layout": 3}
    for name in "01":
        ome_zarr(tmp_path / "a.zarr" / name, numbers((2, 8, 9)), "CYX", version="0.5")
    with pytest.warns(io.RasterWarning, match="has 2 images; the first is read"):
        io.open(tmp_path / "a.zarr")


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_plate_says_what_to_open(tmp_path: Path, version: str) -> None:
    import zarr

    path = tmp_path / "a.zarr"
    kinds = {path: {"plate": {"wells": [{"path": "B/2"}]}}, path / "B" / "2": {"well": {"images": [{"path": "0"}]}}}
    for where, said in kinds.items():
        group = zarr.create_group(where, zarr_format=2 if version == "0.4" else 3)
        group.attrs.update(said if version == "0.4" else {"ome": {"version": version, **said}})
    ome_zarr(path / "B" / "2" / "0", numbers((2, 8, 9)), "CYX", version=version)
    for where in kinds:
        with pytest.raises(InputError, match=r"no image; open one of its images, such as .*a\.zarr/B/2/0$"):
            io.open(where)


def test_planes_of_no_place_say_nothing(tmp_path: Path) -> None:
    path = tmp_path / "in.ome.tif"
    tifffile.imwrite(path, numbers((3, 8, 9)), ome=True, photometric="minisblack", metadata={"axes": "ZYX"})
    with tifffile.TiffFile(path) as tiff:
        text = tiff.ome_metadata.replace("</Pixels>", '<Plane TheZ="first" TheT="0" TheC="0" DeltaT="1"/></Pixels>')
    tifffile.imwrite(path, numbers((3, 8, 9)), description=text, metadata=None, photometric="minisblack")
    assert io.open(path).encoding["stack"].times == ()


def test_saturation_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    pixels = np.zeros((30, 2, 20, 20), np.uint8)
    pixels[:, 1, :2, :3] = 255
    tifffile.imwrite(path, pixels, metadata={"axes": "ZCYX"})
    assert saturated_share(io.open(path)) == pytest.approx(6 / 400)
    with pytest.warns(io.RasterWarning, match=r"1\.5% of the pixels of a channel are saturated"):
        warn_saturated(io.open(path))
    assert saturated_share(io.open(path).isel(band=[0])) == 0


def test_bits_of_the_camera_say_what_saturated_is() -> None:
    assert full_profile().largest == 4095
    assert full_profile("float32").largest is None


def test_real_files_open_as_they_are(realdata: Path) -> None:
    for path in sorted((realdata / "micro").glob("*.ome.tif")):
        image = io.open(path)
        with tifffile.TiffFile(path) as tiff:
            axes, pixels = tiff.series[0].axes, tiff.asarray()
        expected = in_order(pixels, axes)
        assert np.array_equal(image.values, expected if image.ndim == 5 else expected[:, 0, 0]), path
        assert (image.ndim == 5) == bool({"T", "Z"} & set(axes))


def test_the_real_pair_says_its_size_and_channels(realdata: Path) -> None:
    image = io.open(realdata / "micro" / "dna_confocal_widefield_pair_3d.ome.tif")
    stack = image.encoding["stack"]
    assert list(image.band.values) == ["confocal", "widefield"]
    assert stack.pixel_size == pytest.approx((0.511878, 0.511878, 0.499413), abs=1e-6)
    assert isinstance(image, xr.DataArray)
    assert stack.axes == "ZCYX"
