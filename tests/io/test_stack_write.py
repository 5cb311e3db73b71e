"""What is written is what others read: ome-types, tifffile, zarr by the text of NGFF; and it comes back as it was."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import bioio
import numpy as np
import ome_types
import pytest
import tifffile
import zarr
from numpy.typing import NDArray

from sciddiff import io
from sciddiff.errors import InputError, OptionError, OutputError, OutputExistsError
from sciddiff.io.image import from_array
from sciddiff.io.stack_files import read_stack_window
from sciddiff.io.stack_profile import (
    Spatial,
    StackProfile,
    Units,
    channel_names,
    stack_profile_from_dict,
    stack_profile_to_dict,
)
from sciddiff.io.stack_save import verify_stack
from sciddiff.io.stack_write import finish_stack_ome_zarr, write_stack_ome_tiff
from sciddiff.io.units import LENGTHS, TIMES, micrometres, name_of, seconds, symbol_of
from tests.io.stacks import full_profile, numbers

SHAPE = (2, 2, 3, 20, 30)


def written(path: Path, pixels: Any, profile: StackProfile, **options: str) -> Path:
    write_stack_ome_tiff(pixels, path, profile=profile, provenance={"COMMAND": "a < b", "SEED": "0"}, options=options)
    return path


def zarr_group(path: Path, pixels: NDArray[Any], name: str = "0") -> Path:
    group = zarr.create_group(path, zarr_format=3)
    group.create_array(name, data=pixels, chunks=(1, 1, 1, 512, 512))
    return path


def test_a_profile_goes_through_json_and_back() -> None:
    for profile in (full_profile(), StackProfile("float32", (), "ZYX"), full_profile("float32").rescaled(2, 3)):
        assert stack_profile_from_dict(json.loads(json.dumps(stack_profile_to_dict(profile)))) == profile
    with pytest.raises(InputError, match="this version reads sciddiff-stack/1"):
        stack_profile_from_dict({"format": "sciddiff-stack/9"})


def test_smaller_pixels_keep_the_corner() -> None:
    profile = full_profile()
    fine = profile.rescaled(2, 2)
    assert fine.pixel_size == Spatial(0.0625, 0.125, 0.25)
    assert fine.position == Spatial(100 - 0.0625 + 0.03125, -200 - 0.125 + 0.0625, 3 - 0.25 + 0.125)
    for axis in range(3):
        corners = [item.position[axis] - item.pixel_size[axis] / 2 for item in (profile, fine)]
        assert corners[0] == corners[1]
    assert fine.rescaled(0.5, 0.5) == profile
    assert profile.rescaled(1) == profile
    with pytest.raises(InputError, match="give numbers above 0"):
        profile.rescaled(0)


def test_what_is_no_length_is_not_moved() -> None:
    profile = replace(full_profile(), position_unit=Units("reference frame", "reference frame", "µm"))
    assert profile.rescaled(2).position == profile.position
    unknown = replace(full_profile(), pixel_size=Spatial())
    assert unknown.rescaled(2, 2) == unknown


def test_channels_and_types_of_a_profile() -> None:
    profile = full_profile()
    assert profile.select(["GFP <1>", "new"]).names == ("GFP <1>", "new")
    assert profile.select(["GFP <1>"]).channels[0].emission == 509.5
    assert profile.with_dtype("float32").significant_bits is None
    assert profile.with_dtype("uint16") is profile
    assert channel_names(["a", None, " a ", "a"]) == ["a", "channel_2", "a_2", "a_3"]


def test_every_unit_of_ome_is_known() -> None:
    from ome_types.model import UnitsLength, UnitsTime

    lengths = {unit.value for unit in UnitsLength} - {"pixel", "reference frame"}
    assert lengths == set(LENGTHS)
    assert {unit.value for unit in UnitsTime} == set(TIMES)
    assert all(micrometres(unit.value) is None for unit in (UnitsLength.PIXEL, UnitsLength.REFERENCEFRAME))
    for text, number in {
        "nanometer": 1e-3,
        "micron": 1,
        "um": 1,
        "\\u00B5m": 1,
        "μm": 1,
        "mm": 1e3,
        "in": 25400,
    }.items():
        assert micrometres(text) == number
    assert seconds("minute") == 60
    for unit in ("µm", "nm", "mm", "s", "ms", "h"):
        assert symbol_of(str(name_of(unit))) == unit


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "float64"])
def test_ome_tiff_says_to_others_what_the_profile_says(tmp_path: Path, dtype: str) -> None:
    pixels, profile = numbers(SHAPE, dtype), full_profile(dtype)
    path = written(tmp_path / "a.ome.tif", pixels, profile)
    ome = ome_types.from_tiff(path, validate=True)
    (image,) = ome.images
    told = image.pixels
    assert (told.size_t, told.size_c, told.size_z, told.size_y, told.size_x) == SHAPE
    assert told.dimension_order.value == "XYZCT"
    assert (told.physical_size_x, told.physical_size_x_unit.value) == (125, "nm")
    assert told.physical_size_y_unit.value == "µm"
    assert told.physical_size_z == pytest.approx(0.0005)
    assert told.time_increment == 250
    assert [channel.name for channel in told.channels] == ["DAPI", "GFP <1>"]
    assert told.channels[0].color.as_rgb_tuple(alpha=False) == (0, 0, 255)
    assert told.channels[1].emission_wavelength == 509.5
    assert told.channels[1].excitation_wavelength == 488
    assert len(told.planes) == 12
    last = told.planes[-1]
    assert (last.the_t, last.the_c, last.the_z) == (1, 1, 2)
    assert last.position_x == 100
    assert last.position_y == pytest.approx(-0.2)
    assert last.position_z == 3 + 2 * 0.5
    assert (last.delta_t, last.exposure_time) == (750, 0.5)
    assert ome.instruments[0].objectives[0].lens_na == 1.4
    assert image.objective_settings.refractive_index == 1.518
    spaces = {item.namespace: {pair.k: pair.value for pair in item.value.ms} for item in ome.structured_annotations}
    assert spaces == {"lab": {"dye": "β", "dish": "3"}, "sciddiff": {"COMMAND": "a < b", "SEED": "0"}}
    with tifffile.TiffFile(path) as tiff:
        assert tiff.series[0].axes == "TCZYX"
        assert np.array_equal(tiff.asarray(), pixels)
        assert tiff.pages[0].is_tiled


def test_ome_tiff_comes_back_as_it_was(tmp_path: Path) -> None:
    pixels, profile = numbers(SHAPE), full_profile()
    image = io.open(written(tmp_path / "a.ome.tif", pixels, profile))
    back = image.encoding["stack"]
    assert back.annotations[1].namespace == "sciddiff"
    assert replace(back, annotations=back.annotations[:1]) == profile
    assert np.array_equal(image.values, pixels.swapaxes(0, 1))
    again = io.open(written(tmp_path / "b.ome.tif", pixels, back)).encoding["stack"]
    assert again == back
    assert np.array_equal(image.coords["t"].values, [0.5, 0.75])


def test_what_is_not_kept_is_named(tmp_path: Path) -> None:
    path = tmp_path / "in.ome.tif"
    xml = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0"><Pixels ID="Pixels:0" '
        'DimensionOrder="XYZCT" Type="uint8" SizeX="9" SizeY="8" SizeZ="4" SizeC="1" SizeT="1"><TiffData/></Pixels>'
        '</Image><ROI ID="ROI:0"/></OME>'
    )
    tifffile.imwrite(path, numbers((4, 8, 9), "uint8"), description=xml, metadata=None, photometric="minisblack")
    image = io.open(path)
    for name in ("out.ome.tif", "out.ome.zarr"):
        with pytest.warns(io.RasterWarning, match="of the source's metadata ROI are not kept"):
            io.save(image, tmp_path / name)


@pytest.mark.parametrize("step", [-0.5, 0.0, 0.5])
def test_planes_lie_where_the_microscope_went(tmp_path: Path, step: float) -> None:
    """Stacks are taken from above as often as from below, and many files repeat the height of the first plane."""
    pixels, sizes = numbers((3, 8, 9)), {f"PhysicalSize{axis}": 0.5 for axis in "XYZ"}
    told = {f"Position{axis}": [7.0 + step * at * (axis == "Z") for at in range(3)] for axis in "XYZ"}
    told |= {f"Position{axis}Unit": ["µm"] * 3 for axis in "XYZ"}
    path = tmp_path / "in.ome.tif"
    tifffile.imwrite(path, pixels, ome=True, photometric="minisblack", metadata={"axes": "ZYX", "Plane": told, **sizes})
    image = io.open(path)
    io.save(image.isel(z=slice(1, 3)), tmp_path / "part.ome.tif")
    planes = ome_types.from_tiff(tmp_path / "part.ome.tif", validate=True).images[0].pixels.planes
    assert [plane.position_z for plane in planes] == [7 + step, 7 + 2 * step]
    finer = image.encoding["stack"].rescaled(1, 2)  # the first of two takes the place of a half of the plane
    assert finer.position.z == 7 - step / 4


def test_what_single_planes_say_is_named(tmp_path: Path) -> None:
    told = {"DeltaT": [0.0, 1.0, 9.0, 10.0], "PositionX": [1.0] * 4, "ExposureTime": [0.1] * 4}
    path, shape = tmp_path / "in.ome.tif", (2, 2, 8, 9)
    for times, left in ((told["DeltaT"], ("DeltaT of single planes",)), ([0.0, 0.0, 9.0, 9.0], ())):
        metadata = {"axes": "TZYX", "Plane": told | {"DeltaT": times}}
        tifffile.imwrite(path, numbers(shape), ome=True, photometric="minisblack", metadata=metadata)
        stack = io.open(path).encoding["stack"]
        assert (stack.left_out, stack.times) == (left, (0.0, 9.0))


def test_the_pyramid_is_the_mean_of_four(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 4000, (1, 2, 2, 520, 1031)).astype(np.uint16)
    path = written(tmp_path / "a.ome.tif", pixels, replace(full_profile(), times=()), COMPRESS="ZSTD", BLOCKSIZE="256")
    with tifffile.TiffFile(path) as tiff:
        series = tiff.series[0]
        assert [level.shape for level in series.levels] == [(2, 2, 520, 1031), (2, 2, 260, 516)]
        coarse = series.levels[1].asarray().astype(float)
        assert np.array_equal(series.asarray(), pixels[0])
        assert len(tiff.pages) == 4
    quads = pixels[0, ..., :1030].astype(float).reshape(2, 2, 260, 2, 515, 2).mean((3, 5))
    assert np.abs(coarse[..., :515] - quads).max() <= 0.5
    assert not list(tmp_path.glob("*levels*"))


class Watched:
    """An array that says how much of it was asked for at once."""

    def __init__(self, pixels: NDArray[Any]) -> None:
        self.pixels, self.shape, self.dtype, self.largest = pixels, pixels.shape, pixels.dtype, 0

    def __getitem__(self, key: Any) -> NDArray[Any]:
        part = self.pixels[key]
        self.largest = max(self.largest, part.size)
        return part


def test_writing_holds_a_row_of_tiles(tmp_path: Path) -> None:
    store = Watched(numbers((2, 2, 2, 600, 300)))
    written(tmp_path / "a.ome.tif", store, full_profile(), BLOCKSIZE="128")
    assert store.largest <= 128 * 300


def test_a_stop_leaves_no_scratch(tmp_path: Path) -> None:
    calls = iter(range(3))

    def check() -> None:
        if next(calls, None) is None:
            raise OutputError("stopped")

    with pytest.raises(OutputError, match="stopped"):
        write_stack_ome_tiff(
            numbers((2, 2, 3, 600, 520)),
            tmp_path / "a.ome.tif",
            profile=full_profile(),
            provenance={},
            options={},
            check=check,
        )
    assert [path.name for path in tmp_path.iterdir()] in ([], ["a.ome.tif"])


def test_windows_read_back_as_stored_numbers(tmp_path: Path) -> None:
    pixels = numbers(SHAPE)
    path = written(tmp_path / "a.ome.tif", pixels, full_profile())
    part = read_stack_window(path, 1, slice(0, 2), 2, slice(3, 9), slice(10, 30))
    assert np.array_equal(part, pixels[1, 0:2, 2, 3:9, 10:30])
    assert part.dtype == pixels.dtype
    verify_stack(path, pixels, name=path)
    other = pixels.copy()
    other[1, 0, 2, 5, 6] += 1
    with pytest.raises(OutputError, match="pixels at t 1, channel 0, z 2, row 0 read back differently"):
        verify_stack(path, other, name=path)


@pytest.mark.parametrize(("version", "name"), [("0.5", "pixels"), ("0.5", "0"), ("0.4", "pixels")])
def test_ome_zarr_keeps_the_rules_of_ngff(tmp_path: Path, version: str, name: str) -> None:
    pixels, profile = numbers((2, 2, 3, 520, 600)), full_profile()
    path = zarr_group(tmp_path / "a.ome.zarr", pixels, name)
    for _ in range(2):
        finish_stack_ome_zarr(path, profile=profile, provenance={"SEED": "0"}, options={"NGFF": version})
    assert [item.name for item in tmp_path.iterdir()] == ["a.ome.zarr"]
    group = zarr.open_group(path, mode="r")
    assert group.metadata.zarr_format == (2 if version == "0.4" else 3)
    said: Any = group.attrs if version == "0.4" else group.attrs["ome"]
    (scales,) = said["multiscales"]
    assert (scales if version == "0.4" else said)["version"] == version
    assert [axis["name"] for axis in scales["axes"]] == list("tczyx")
    assert [axis["type"] for axis in scales["axes"]] == ["time", "channel", "space", "space", "space"]
    units = [axis.get("unit") for axis in scales["axes"]]
    assert units == ["millisecond", None, "millimeter", "micrometer", "nanometer"]
    assert [group[item["path"]].shape[-2:] for item in scales["datasets"]] == [(520, 600), (260, 300)]
    first, second = (item["coordinateTransformations"] for item in scales["datasets"])
    assert first[0]["scale"] == pytest.approx([250, 1, 0.0005, 0.25, 125])
    assert first[1]["translation"] == pytest.approx([0, 0, 0.003, -200, 1e5])
    assert second[0]["scale"] == pytest.approx([250, 1, 0.0005, 0.5, 250])
    assert second[1]["translation"] == pytest.approx([0, 0, 0.003, -200 + 0.125, 1e5 + 62.5])
    assert [channel["color"] for channel in said["omero"]["channels"]] == ["0000FF", "00FF00"]
    assert [channel["label"] for channel in said["omero"]["channels"]] == ["DAPI", "GFP <1>"]
    assert np.array_equal(group["0"][:], pixels)
    if version == "0.5":
        assert group["0"].metadata.dimension_names in (tuple("tczyx"), None)
        assert group["1"].metadata.dimension_names == tuple("tczyx")
    else:
        assert (path / "0" / "0" / "0" / "0" / "0" / "0").is_file()
    image = io.open(path)
    assert image.encoding["stack"] == profile
    assert np.array_equal(image.values, pixels.swapaxes(0, 1))


def test_ome_zarr_without_our_annotation_keeps_what_ngff_says(tmp_path: Path) -> None:
    path = zarr_group(tmp_path / "a.ome.zarr", numbers(SHAPE))
    finish_stack_ome_zarr(path, profile=full_profile(), provenance={})
    del zarr.open_group(path).attrs["sciddiff"]
    back = io.open(path).encoding["stack"]
    assert back.pixel_size == pytest.approx(full_profile().pixel_size)
    assert back.position == pytest.approx(full_profile().position)
    assert back.pixel_unit == full_profile().pixel_unit
    assert back.names == full_profile().names


def test_a_kill_between_two_renames_is_mended(tmp_path: Path) -> None:
    path = zarr_group(tmp_path / "a.ome.zarr", numbers(SHAPE))
    options = {"NGFF": "0.4"}
    finish_stack_ome_zarr(path, profile=full_profile(), provenance={}, options=options)
    path.rename(tmp_path / "a.ome.zarr.v2")
    finish_stack_ome_zarr(path, profile=full_profile(), provenance={}, options=options)
    assert np.array_equal(io.open(path).values, numbers(SHAPE).swapaxes(0, 1))


@pytest.mark.parametrize("suffix", [".ome.tif", ".tif", ".ome.zarr"])
def test_saving_what_was_opened_changes_nothing(tmp_path: Path, suffix: str) -> None:
    pixels = numbers(SHAPE)
    image = io.open(written(tmp_path / "in.ome.tif", pixels, full_profile()))
    path = tmp_path / f"out{suffix}"
    io.save(image, path, provenance={"SEED": "1"})
    back = io.open(path)
    assert np.array_equal(back.values, image.values)
    stacks = [replace(item.encoding["stack"], annotations=()) for item in (image, back)]
    assert stacks[0] == stacks[1]
    assert io.grid_of(back) == io.grid_of(image)
    with pytest.raises(OutputExistsError):
        io.save(image, path)
    io.save(image, path, overwrite=True)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["in.ome.tif", path.name]


def test_a_part_of_a_stack_keeps_its_place(tmp_path: Path) -> None:
    image = io.open(written(tmp_path / "in.ome.tif", numbers(SHAPE), full_profile()))
    part = image.isel(band=[1], t=1, z=slice(1, 3), y=slice(4, 20), x=slice(8, 30))
    io.save(part, tmp_path / "part.ome.tif")
    back = io.open(tmp_path / "part.ome.tif")
    assert np.array_equal(back.values, numbers(SHAPE)[1:, 1:, 1:, 4:, 8:])
    stack = back.encoding["stack"]
    assert stack.position == pytest.approx((100 + 8 * 0.125, -200 + 4 * 0.25, 3 + 0.5))
    assert stack.times == (0.75,)
    assert stack.names == ("GFP <1>",)
    io.save(image.isel(z=slice(None, None, 2)), tmp_path / "thin.ome.zarr")
    assert io.open(tmp_path / "thin.ome.zarr").encoding["stack"].pixel_size.z == 1.0


def test_arithmetic_is_saved_as_floats(tmp_path: Path) -> None:
    image = io.open(written(tmp_path / "in.ome.tif", numbers(SHAPE), full_profile()))
    half = (image / 2).where(image > 10)
    io.save(half, tmp_path / "out.ome.tif")
    back = io.open(tmp_path / "out.ome.tif")
    assert back.encoding["stack"].dtype == "float32"
    assert back.encoding["stack"].pixel_size == pytest.approx((0.125, 0.25, 0.5))
    assert np.array_equal(back.values, half.values, equal_nan=True)
    assert (~back.valid.values).sum() == 11


def test_integers_hold_no_invalid_pixels(tmp_path: Path) -> None:
    image = io.open(written(tmp_path / "in.ome.tif", numbers(SHAPE), full_profile()))
    holes = image.where(image > 10)
    holes.encoding = dict(image.encoding)
    with pytest.raises(OutputError, match="11 pixels of a plane are invalid, and OME has no uint16 for that"):
        io.save(holes, tmp_path / "out.ome.tif")
    assert [path.name for path in tmp_path.iterdir()] == ["in.ome.tif"]
    many = image * 1000
    many.encoding = dict(image.encoding)
    with pytest.warns(io.RasterWarning, match="values were clipped to the range of uint16"):
        io.save(many, tmp_path / "out.ome.tif")


def test_a_flat_image_becomes_an_ome_tiff(tmp_path: Path) -> None:
    from affine import Affine
    from odc.geo.geobox import GeoBox

    grid = GeoBox((8, 9), Affine.scale(0.2, 0.2), None)
    io.save(from_array(numbers((2, 8, 9)), grid=grid, bands=["a", "b"]), tmp_path / "flat.ome.tif")
    told = ome_types.from_tiff(tmp_path / "flat.ome.tif").images[0].pixels
    assert (told.physical_size_x, told.size_c, told.size_z) == (0.2, 2, 1)
    assert io.open(tmp_path / "flat.ome.tif").dims == ("band", "y", "x")


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("a.ome.tif", {"QUALITY": "9"}, OptionError, "takes COMPRESS, LEVEL and BLOCKSIZE"),
        ("a.ome.zarr", {"COMPRESS": "ZSTD"}, OptionError, "OME-Zarr takes NGFF"),
        ("a.ome.zarr", {"NGFF": "0.3"}, OptionError, r"written in the versions 0\.5, 0\.4"),
        ("a.zarr", {}, OutputError, r"stacks are written as \.ome\.tif or \.ome\.zarr"),
        ("a.png", {}, OutputError, r"ends in \.tif"),
        ("none/a.ome.tif", {}, OutputError, "does not exist"),
    ],
)
def test_what_cannot_be_written_is_refused(
    tmp_path: Path, name: str, options: dict[str, str], error: type[Exception], message: str
) -> None:
    image = io.open(written(tmp_path / "in.ome.tif", numbers(SHAPE), full_profile()))
    with pytest.raises(error, match=message):
        io.save(image, tmp_path / name, creation_options=options)
    assert [path.name for path in tmp_path.iterdir()] == ["in.ome.tif"]


def test_pixels_must_fit_the_profile(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"are no .* of 2 channels"):
        written(tmp_path / "a.ome.tif", numbers((2, 3, 3, 8, 9)), full_profile())
    with pytest.raises(OutputError, match="pixels are float32, the profile says uint16"):
        written(tmp_path / "a.ome.tif", numbers(SHAPE, "float32"), full_profile())
    with pytest.raises(OutputError, match=r"OME-TIFF has no pixels of type int64; write \.ome\.zarr"):
        written(tmp_path / "a.ome.tif", numbers(SHAPE, "int64"), full_profile("int64"))


def test_large_files_are_bigtiff(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sciddiff.io.ome.BIG", 1000)
    with tifffile.TiffFile(written(tmp_path / "a.ome.tif", numbers(SHAPE), full_profile())) as tiff:
        assert tiff.is_bigtiff


@pytest.mark.filterwarnings("ignore:As of version")
def test_bioio_reads_it(tmp_path: Path) -> None:
    image = bioio.BioImage(written(tmp_path / "a.ome.tif", numbers(SHAPE), full_profile()))
    assert image.shape == SHAPE
    assert pytest.approx(0.25) == image.physical_pixel_sizes.Y
    assert image.channel_names == ["DAPI", "GFP <1>"]


def test_real_stacks_come_back_bit_for_bit(realdata: Path, tmp_path: Path) -> None:
    for name in ("drosophila_nuclear_envelope_3d", "hela_3ch_16bit"):
        image = io.open(realdata / "micro" / f"{name}.ome.tif")
        for suffix in (".ome.tif", ".ome.zarr"):
            io.save(image, tmp_path / f"{name}{suffix}")
            back = io.open(tmp_path / f"{name}{suffix}")
            assert np.array_equal(back.values, image.values)
            assert back.dims == image.dims
            assert back.encoding["stack"].pixel_size == image.encoding["stack"].pixel_size
