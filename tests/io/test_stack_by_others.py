"""What other programs write beside pixels: sets of files, metadata in a file apart, units, what we do not keep."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import ome_types
import pytest
import tifffile
import zarr
from numpy.typing import NDArray

from sciddiff import io
from sciddiff.errors import InputError
from sciddiff.io.stack import saturated_share
from tests.io.stacks import numbers, ome_image, ome_text, ome_zarr

UUIDS = ("urn:uuid:aaaaaaaa-0000-0000-0000-000000000000", "urn:uuid:bbbbbbbb-0000-0000-0000-000000000000")


def written(path: Path, pixels: NDArray[Any], text: bytes) -> Path:
    """Pages with OME-XML in the first."""
    with tifffile.TiffWriter(path) as writer:
        for number, page in enumerate(pixels):
            description = None if number else text
            writer.write(page, description=description, metadata=None, photometric="minisblack", contiguous=False)
    return path


def positions(folder: Path) -> list[Path]:
    """Two places on the stage, a file each, both of which tell of both, as acquisition programs write them."""
    images = []
    for number, uuid in enumerate(UUIDS):
        data = f'<TiffData IFD="0" PlaneCount="3"><UUID FileName="pos{number}.ome.tif">{uuid}</UUID></TiffData>'
        size = f'PhysicalSizeX="{number + 1}" PhysicalSizeY="{number + 1}"'
        images.append(ome_image(number, 3, data, said=size))
    pixels = numbers((2, 3, 8, 9))
    texts = [ome_text(images, uuid=uuid) for uuid in UUIDS]
    return [written(folder / f"pos{number}.ome.tif", pixels[number], texts[number]) for number in range(2)]


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("number", [0, 1])
def test_a_file_of_a_set_is_its_own_image(tmp_path: Path, number: int, alone: bool) -> None:
    files = positions(tmp_path)
    if alone:
        files[1 - number].unlink()
    image = io.open(files[number])
    assert np.array_equal(image.values[0, 0], numbers((2, 3, 8, 9))[number])
    stack = image.encoding["stack"]
    assert (stack.name, stack.names) == (f"image {number}", (f"channel of {number}",))
    assert stack.pixel_size.x == number + 1


@pytest.mark.parametrize("name", ["set.companion.ome", "master.ome.tif"])
def test_metadata_of_a_set_in_a_file_apart_is_read(tmp_path: Path, name: str) -> None:
    part, pixels = tmp_path / "part.ome.tif", numbers((3, 8, 9))
    text = ome_text([f'<BinaryOnly MetadataFile="{name}" UUID="{UUIDS[1]}"/>'], uuid=UUIDS[0])
    written(part, pixels, text)
    with pytest.raises(InputError, match="does not say what its axes are"):
        io.open(part)
    lone = io.open(part, axes="ZYX")
    assert lone.encoding["stack"].left_out == (f"all of {name} (not there)",)
    data = f'<TiffData IFD="0" PlaneCount="3"><UUID FileName="{part.name}">{UUIDS[0]}</UUID></TiffData>'
    master = ome_text([ome_image(0, 3, data, said='PhysicalSizeX="0.1" PhysicalSizeY="0.2"')], uuid=UUIDS[1])
    if name.endswith(".tif"):
        written(tmp_path / name, pixels[:1], master)
    else:
        (tmp_path / name).write_bytes(master)
    part.touch()
    image = io.open(part)
    assert np.array_equal(image.values[0, 0], pixels)
    stack = image.encoding["stack"]
    assert (stack.pixel_size[:2], stack.names, stack.left_out) == ((0.1, 0.2), ("channel of 0",), ())


@pytest.mark.parametrize("name", ["set.companion.ome", "master.ome.tif"])
def test_damaged_metadata_in_a_file_apart_is_named(tmp_path: Path, name: str) -> None:
    part = tmp_path / "part.ome.tif"
    text = ome_text([f'<BinaryOnly MetadataFile="{name}" UUID="{UUIDS[1]}"/>'], uuid=UUIDS[0])
    written(part, numbers((3, 8, 9)), text)
    for damaged in (b"\xff\xfe", b"<OME"):
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(InputError, match=f"/{name}: cannot be read as OME-XML"):
            io.open(part)


@pytest.mark.parametrize("start", [b"", b"II*\0", b"no TIFF"])
def test_axes_of_a_damaged_file_are_an_error_of_the_input(tmp_path: Path, start: bytes) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(start)
    with pytest.raises(InputError, match=r"a\.tif: cannot be opened as a stack"):
        io.open(path, axes="ZYX")


@pytest.mark.parametrize("name", ["a.ome.tif", "a.tif"])
@pytest.mark.parametrize(
    ("tag", "at", "number"),
    [("ImageWidth", 8, 0), ("RowsPerStrip", 8, 0), ("StripOffsets", 2, 2)],
)
def test_tags_that_make_no_sense_are_an_error_of_the_input(
    tmp_path: Path, name: str, tag: str, at: int, number: int
) -> None:
    path = tmp_path / name
    tifffile.imwrite(path, numbers((2, 8, 9)), metadata={"axes": "ZYX"})
    with tifffile.TiffFile(path) as tiff:
        place = tiff.pages.first.tags[tag].offset
    raw = bytearray(path.read_bytes())
    struct.pack_into("<H", raw, place + at, number)
    path.write_bytes(raw)
    with pytest.raises(InputError, match=r"(a|a\.ome)\.tif: .*[^ ]$"):
        io.open(path)


def test_pages_in_several_ways_of_packing_are_one_image(tmp_path: Path) -> None:
    pixels = numbers((3, 8, 9))
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for page, packed in zip(pixels, (None, "zlib", "lzw"), strict=True):
            writer.write(page, metadata=None, photometric="minisblack", compression=packed)
    assert np.array_equal(io.open(tmp_path / "a.tif", axes="ZYX").values[0, 0], pixels)  # and nothing is warned of


def changed(path: Path, *, further: dict[str, Any] | None = None, **said: Any) -> Path:
    """An OME-Zarr whose multiscale says something else, and beside it something further."""
    ome_zarr(path, numbers((2, 8, 9)), "CYX", version="0.4")
    group = zarr.open_group(path)
    scales: Any = dict(group.attrs["multiscales"][0])  # type: ignore[index,call-overload,arg-type]
    group.attrs.update({"multiscales": [{**scales, **said}], **(further or {})})
    return path


def steps(*transforms: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"path": "s0", "coordinateTransformations": list(transforms)}]


@pytest.mark.parametrize(
    "said",
    [
        {"datasets": steps({"type": "scale", "scale": [1, 2]})},
        {"datasets": steps({"type": "scale", "scale": ["1", "2", "3"]})},
        {"datasets": steps({"type": "scale", "scale": [1, None, 2]})},
        {"datasets": steps({"type": "scale", "scale": [1, 1, 1]}, {"type": "translation", "translation": [3]})},
        {"datasets": [{"path": ""}]},
        {"axes": [{"type": "space"}] * 3},
        {"further": {"omero": {"channels": ["red"]}}},
    ],
)
def test_damaged_metadata_of_an_ome_zarr_is_an_error_of_the_input(tmp_path: Path, said: dict[str, Any]) -> None:
    path = changed(tmp_path / "a.zarr", **said)
    with pytest.raises(InputError, match=r"a\.zarr: (its multiscales or omero are damaged|cannot be opened as an OME)"):
        io.open(path)


def test_channels_of_an_ome_zarr_may_be_numbers_or_none(tmp_path: Path) -> None:
    said = {"omero": {"channels": [{"label": 405}]}}
    assert io.open(changed(tmp_path / "a.zarr", further=said)).encoding["stack"].names == ("405", "channel_2")
    said = {"omero": {"channels": None}}
    assert io.open(changed(tmp_path / "b.zarr", further=said)).encoding["stack"].names == ("channel_1", "channel_2")


@pytest.mark.parametrize("transforms", [[], [{"type": "identity"}], [{"type": "scale", "path": "scale"}]])
def test_an_ome_zarr_without_a_scale_has_no_pixel_size(tmp_path: Path, transforms: list[dict[str, Any]]) -> None:
    stack = io.open(changed(tmp_path / "a.zarr", datasets=steps(*transforms))).encoding["stack"]
    assert not stack.calibrated
    assert stack.left_out == ()


def test_what_of_an_ome_zarr_is_not_kept_is_named(tmp_path: Path) -> None:
    axes = [{"name": "c", "type": "channel"}, {"name": "y", "unit": "pixel"}, {"name": "x"}]
    path = changed(tmp_path / "a.zarr", axes=axes, datasets=steps({"type": "scale", "scale": [1, 2, -0.1]}))
    zarr.open_group(path).create_group("labels")
    lost = io.open(path).encoding["stack"].left_out
    assert lost == ("labels", "scale of Y in no unit of length or time", "scale of X in no unit of length or time")


def test_sizes_that_bioformats2raw_says_in_xml_are_kept_where_axes_have_no_unit(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    zarr.create_group(path, zarr_format=2).attrs["bioformats2raw.layout"] = 3
    bare = [{"name": name} for name in "cyx"]
    changed(path / "0", axes=bare, datasets=steps({"type": "scale", "scale": [1, 1, 1]}))
    zarr.create_group(path / "OME", zarr_format=2)
    said = 'PhysicalSizeX="65" PhysicalSizeXUnit="nm" PhysicalSizeY="0.065" TimeIncrement="3" TimeIncrementUnit="min"'
    (path / "OME" / "METADATA.ome.xml").write_bytes(ome_text([ome_image(0, 1, "<MetadataOnly/>", said=said)]))
    stack = io.open(path).encoding["stack"]
    assert stack.pixel_size[:2] == pytest.approx((0.065, 0.065))
    assert (stack.pixel_unit.x, stack.time_increment, stack.time_unit) == ("nm", 180, "min")


def lsm(path: Path, pixels: NDArray[Any]) -> Path:
    """A z-scan of (z, h, w) as Zeiss wrote it: a page a plane, each with a thumbnail behind it."""
    info = np.zeros((), tifffile.TIFF.CZ_LSMINFO)
    depth, height, width = pixels.shape
    said = {"MagicNumber": 67127628, "StructureSize": info.nbytes, "VoxelSizeX": 1e-7, "VoxelSizeY": 2e-7}
    said |= {"VoxelSizeZ": 5e-7, "DimensionX": width, "DimensionY": height, "DimensionZ": depth, "DimensionTime": 1}
    for name, number in (said | {"DimensionChannels": 1}).items():
        info[name] = number
    tag: Any = [(34412, 1, info.nbytes, info.tobytes(), True)]
    with tifffile.TiffWriter(path, byteorder="<") as writer:
        for number, plane in enumerate(pixels):
            writer.write(plane, metadata=None, photometric="minisblack", extratags=[] if number else tag)
            writer.write(plane[::2, ::2].copy(), subfiletype=1, metadata=None, photometric="minisblack")
    return path


def test_lsm_files_say_their_voxels(tmp_path: Path) -> None:
    pixels = numbers((3, 8, 10))
    image = io.open(lsm(tmp_path / "a.lsm", pixels))
    assert np.array_equal(image.values[0, 0], pixels)
    stack = image.encoding["stack"]
    assert stack.pixel_size == pytest.approx((0.1, 0.2, 0.5))
    assert stack.left_out == ("tags of lsm",)


@pytest.mark.parametrize("name", ["stack", "stack.stk", "stack.flex"])
def test_a_stack_of_any_suffix_is_all_of_it(tmp_path: Path, name: str) -> None:
    path, pixels = tmp_path / name, numbers((4, 8, 9))
    tifffile.imwrite(path, pixels, imagej=True, metadata={"axes": "ZYX"})
    assert np.array_equal(io.open(path).values[0, 0], pixels)
    tifffile.imwrite(path, pixels, metadata=None, photometric="minisblack")
    with pytest.raises(InputError, match="does not say what its axes are"):
        io.open(path)
    assert np.array_equal(io.open(path, axes="TYX").values[0, :, 0], pixels)


@pytest.mark.parametrize(
    ("said", "lost"),
    [
        ('PhysicalSizeX="-0.1" PhysicalSizeY="0.1"', ("PhysicalSizeX of -0.1",)),
        ('PhysicalSizeZ="0" PhysicalSizeZUnit="nm"', ("PhysicalSizeZ of 0 nm",)),
        ('PhysicalSizeX="2" PhysicalSizeXUnit="reference frame"', ("PhysicalSizeX of 2 reference frame",)),
        ('PhysicalSizeX="1" PhysicalSizeXUnit="pixel"', ()),
        ('TimeIncrement="2" TimeIncrementUnit="frame"', ("TimeIncrement of 2 frame",)),
        ('PhysicalSizeX="0.1" TimeIncrement="2"', ()),
    ],
)
def test_sizes_of_ome_that_are_none_are_named(tmp_path: Path, said: str, lost: tuple[str, ...]) -> None:
    path = written(tmp_path / "a.ome.tif", numbers((3, 8, 9)), ome_text([ome_image(0, 3, "<TiffData/>", said=said)]))
    assert io.open(path).encoding["stack"].left_out == lost


@pytest.mark.parametrize(
    ("unit", "size"), [("nanometers", 1e-3), ("Micrometres", 1.0), ("inches", 25400.0), ("mm", 1e3), ("furlong", None)]
)
def test_units_of_imagej_by_any_name(tmp_path: Path, unit: str, size: float | None) -> None:
    path = tmp_path / "a.tif"
    said = {"axes": "ZYX", "unit": unit, "spacing": 1.0}
    tifffile.imwrite(path, numbers((3, 8, 9)), imagej=True, resolution=(1.0, 1.0), metadata=said)
    stack = io.open(path).encoding["stack"]
    assert tuple(stack.pixel_size) == (pytest.approx((size,) * 3) if size else (None,) * 3)
    assert stack.left_out == (() if size else ("sizes in furlong",))


def test_display_ranges_of_imagej_stay_beside_the_pixels(tmp_path: Path) -> None:
    said = {"axes": "CYX", "Ranges": (0.0, 9.0, 1.0, 8.0)}
    tifffile.imwrite(tmp_path / "a.tif", numbers((2, 8, 9)), imagej=True, metadata=said)
    (annotation,) = io.open(tmp_path / "a.tif").encoding["stack"].annotations
    assert ("Ranges", "(0.0, 9.0, 1.0, 8.0)") in annotation.pairs


def test_ways_to_show_pixels_that_are_not_kept_are_named(tmp_path: Path) -> None:
    pixels, plain = numbers((3, 8, 9), "uint8"), {"metadata": None}
    colours = np.zeros((3, 256), np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="palette", colormap=colours, **plain)
    tifffile.imwrite(tmp_path / "b.tif", pixels, photometric="miniswhite", **plain)
    images = [io.open(tmp_path / name, axes="ZYX") for name in ("a.tif", "b.tif")]
    assert [image.encoding["stack"].left_out for image in images] == [("colour map",), ("that zero is shown white",)]


def test_planes_behind_one_page_of_metamorph_are_read(tmp_path: Path) -> None:
    path, pixels = tmp_path / "a.stk", numbers((4, 8, 9))
    planes = (3, 1, 2450000, 5, 2450000, 5) * 4  # distances of planes as fractions, and when they were taken
    own = [(33628, 4, 4, (0, 0, 0, 0), True), (33629, 5, len(planes) // 2, planes, True)]
    tifffile.imwrite(path, pixels[0], byteorder="<", metadata=None, photometric="minisblack", extratags=own)
    with tifffile.TiffFile(path) as tiff:
        start = tiff.pages.first.dataoffsets[0]
    data = path.read_bytes().replace(struct.pack("<HHI", 33629, 5, 12), struct.pack("<HHI", 33629, 5, 4))
    path.write_bytes(data[:start] + pixels.tobytes() + data[start + pixels[0].nbytes :])
    image = io.open(path)
    assert np.array_equal(image.values[0, 0], pixels)
    assert image.encoding["stack"].left_out == ("tags of stk",)


def test_axes_are_told_in_the_path_too_and_a_zarr_is_mended(tmp_path: Path) -> None:
    path, pixels = tmp_path / "a.tif", numbers((4, 8, 9))
    tifffile.imwrite(path, pixels, metadata=None, photometric="minisblack")
    with pytest.raises(InputError, match=f"axes://ZYX{path} in the place of the path"):
        io.open(path)
    assert np.array_equal(io.open(f"axes://ZYX{path}").values[0, 0], pixels)
    with pytest.raises(InputError, match=r"\? 2, .*: mend the axes of its multiscales"):
        io.open(changed(tmp_path / "a.zarr", axes=[{"name": name} for name in ("depth", "y", "x")]))


def test_what_readers_of_ome_refuse_is_not_written_again(tmp_path: Path) -> None:
    channel = 'Name="c" AcquisitionMode="Spinning" PinholeSize="wide" PinholeSizeUnit="um" EmissionWavelength="0"'
    objective = '<Objective ID="Objective:0" LensNA="-1" Correction="PlanApo" Iris="maybe" WorkingDistance="1"/>'
    image = ome_image(0, 3, "<TiffData/>", said='SignificantBits="0"').replace('Name="channel of 0"', channel)
    image = image.replace("<Pixels", "<AcquisitionDate>yesterday</AcquisitionDate><Pixels")
    text = ome_text([f'<Instrument ID="Instrument:0">{objective}</Instrument>', image])
    opened = io.open(written(tmp_path / "a.ome.tif", numbers((3, 8, 9)), text))
    lost = ["AcquisitionDate of yesterday", "AcquisitionMode of Spinning", "EmissionWavelength of 0", "Iris of maybe"]
    lost += ["LensNA of -1", "PinholeSize of wide", "PinholeSizeUnit of um"]
    assert opened.encoding["stack"].left_out == tuple(lost)
    assert saturated_share(opened) == 0
    with pytest.warns(io.RasterWarning, match="AcquisitionMode of Spinning"):
        io.save(opened, tmp_path / "b.ome.tif")
    told = ome_types.from_tiff(tmp_path / "b.ome.tif")
    assert told.instruments[0].objectives[0].correction.value == "PlanApo"
    assert told.images[0].pixels.significant_bits is None


def test_descriptions_of_plain_stacks_stay(tmp_path: Path) -> None:
    pixels, plain = numbers((3, 8, 9)), {"photometric": "minisblack", "datetime": "2023:05:04 10:11:12"}
    tifffile.imwrite(tmp_path / "a.tif", pixels, metadata=None, description="60x oil", **plain)
    tifffile.imwrite(tmp_path / "b.tif", pixels, metadata={"axes": "ZYX", "dye": "GFP"}, **plain)
    first, second = (io.open(tmp_path / name, axes="ZYX").encoding["stack"] for name in ("a.tif", "b.tif"))
    assert (first.description, first.acquired, first.annotations) == ("60x oil", "2023-05-04T10:11:12", ())
    assert second.description is None
    assert second.annotations[0].pairs == (("dye", "GFP"),)
