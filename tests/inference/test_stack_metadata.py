"""What files of microscopes say after `predict`, read by readers that are not this project's."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bioio
import numpy as np
import ome_zarr_models
import ome_zarr_models.v05
import pytest
import tifffile
import zarr

from sciddiff import io
from sciddiff.inference import predict_file
from tests.io.stacks import ome_zarr
from tests.laws.stacks import random_model, stack_file, values

IN_MICROMETRES = {"nm": 1e-3, "nanometer": 1e-3, "µm": 1.0, "micrometer": 1.0, "mm": 1e3, "millimeter": 1e3}
IN_SECONDS = {"ms": 1e-3, "millisecond": 1e-3, "s": 1.0, "second": 1.0}


@dataclass
class Facts:
    """Of a stack: sizes of a pixel and the place of its first corner along x, y, z in micrometres; channels; times."""

    size: tuple[float, ...]
    corner: tuple[float, ...] | None
    names: list[str]
    colours: list[tuple[int, ...] | None]
    waves: list[float | None] | None
    step: float | None
    units: tuple[str, ...]


SOURCES = {
    "ome": Facts(
        (0.25, 0.25, 2.0),
        (100 - 0.125, -200 - 0.125, 3.0 - 1),
        ["DAPI", "GFP <1>"],
        [(0, 0, 255), (0, 255, 0)],
        [461.0, 509.5],
        0.25,
        ("nm", "µm", "mm", "ms"),
    ),
    "imagej": Facts(
        (0.25, 0.25, 2.0),
        None,
        ["channel_1", "channel_2"],
        [(255, 0, 0), (0, 255, 255)],
        None,
        0.5,
        ("µm", "µm", "µm", "s"),
    ),
    "zarr": Facts(
        (0.1, 0.2, 0.5),
        (1 - 0.05, 1 - 0.1, 1 - 0.25),
        ["red", "green"],
        [(255, 0, 0), (0, 255, 0)],
        None,
        2.0,
        ("nm", "nm", "nm", "s"),
    ),
}


def make(kind: str, folder: Path) -> Path:
    if kind == "ome":
        return stack_file(folder / "in.ome.tif")
    pixels = values()
    if kind == "zarr":
        ome_zarr(folder / "in.ome.zarr", pixels, "TCZYX", version="0.4")
        return folder / "in.ome.zarr"
    ramp = np.arange(256, dtype=np.uint8)
    tables = [np.stack([ramp * on for on in colour]).astype(np.uint8) for colour in ((1, 0, 0), (0, 1, 1))]
    told = {"axes": "TZCYX", "spacing": 2.0, "finterval": 0.5, "unit": "um", "mode": "composite", "LUTs": tables}
    path = folder / "in.tif"
    tifffile.imwrite(path, pixels.swapaxes(1, 2), imagej=True, resolution=(4, 4), metadata=told)
    return path


def of_tiff(path: Path) -> Facts:
    ome_types = pytest.importorskip("ome_types")
    with tifffile.TiffFile(path) as tiff:
        assert tiff.is_ome
        pixels = ome_types.from_xml(tiff.ome_metadata).images[0].pixels
    units = [getattr(pixels, f"physical_size_{axis}_unit").value for axis in "xyz"]
    size = [getattr(pixels, f"physical_size_{axis}") * IN_MICROMETRES[unit] for axis, unit in zip("xyz", units)]
    plane = next((p for p in pixels.planes if (p.the_t, p.the_c, p.the_z) == (0, 0, 0)), None)
    corner = None
    if plane is not None and plane.position_x is not None:
        lengths = [IN_MICROMETRES[getattr(plane, f"position_{axis}_unit").value] for axis in "xyz"]
        places = [getattr(plane, f"position_{axis}") * length for axis, length in zip("xyz", lengths)]
        corner = tuple(place - side / 2 for place, side in zip(places, size))
    time = pixels.time_increment_unit.value
    told = [channel.color.as_rgb_tuple(alpha=False) for channel in pixels.channels]
    waves = [channel.emission_wavelength for channel in pixels.channels]
    names = [str(channel.name) for channel in pixels.channels]
    step = pixels.time_increment and pixels.time_increment * IN_SECONDS[time]
    return Facts(tuple(size), corner, names, told, waves if any(waves) else None, step, (*units, time))


def of_zarr(path: Path) -> Facts:
    said = zarr.open_group(path, mode="r").attrs["ome"]
    scales: Any = said["multiscales"][0]
    axes = {axis["name"]: axis.get("unit") for axis in scales["axes"]}
    assert list(axes) == ["t", "c", "z", "y", "x"]
    steps = scales["datasets"][0]["coordinateTransformations"]
    scale, shift = (
        dict(zip(axes, next((step[kind] for step in steps if step["type"] == kind), [0.0] * 5)))
        for kind in ("scale", "translation")
    )
    size = tuple(scale[axis] * IN_MICROMETRES[axes[axis]] for axis in "xyz")
    places = [shift[axis] * IN_MICROMETRES[axes[axis]] for axis in "xyz"]
    channels = said["omero"]["channels"]
    short = {"nanometer": "nm", "micrometer": "µm", "millimeter": "mm", "second": "s", "millisecond": "ms"}
    return Facts(
        size,
        tuple(place - side / 2 for place, side in zip(places, size)) if any(places) else None,
        [channel["label"] for channel in channels],
        [tuple(bytes.fromhex(channel["color"])) for channel in channels],
        None,
        scale["t"] * IN_SECONDS[axes["t"]],
        tuple(short[axes[axis]] for axis in "xyzt"),
    )


def compare(found: Facts, known: Facts, *, across: float, deep: float) -> None:
    finer = (across, across, deep)
    assert found.size == pytest.approx([side / ratio for side, ratio in zip(known.size, finer)], rel=1e-9)
    if known.corner is None:
        assert found.corner is None
    else:
        assert found.corner == pytest.approx(known.corner, rel=1e-9)
    assert (found.names, found.colours, found.units) == (known.names, known.colours, known.units)
    assert found.step == pytest.approx(known.step)


@pytest.mark.filterwarnings("ignore:.* than Nyquist of the optics", "ignore:planes are .* apart")
@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("suffix", [".ome.tif", ".ome.zarr"])
def test_twice_finer_pixels_are_said_to_others(tmp_path: Path, kind: str, suffix: str) -> None:
    path, output = make(kind, tmp_path), tmp_path / f"out{suffix}"
    predict_file(random_model(), str(path), output)
    found = (of_tiff if suffix == ".ome.tif" else of_zarr)(output)
    compare(found, SOURCES[kind], across=2, deep=1)
    if suffix == ".ome.tif":
        assert found.waves == SOURCES[kind].waves
    again = io.open(output).encoding["stack"]
    assert again.pixel_size[:2] == pytest.approx([side / 2 for side in SOURCES[kind].size[:2]])


@pytest.mark.filterwarnings("ignore:.* than Nyquist of the optics", "ignore:planes are .* apart")
@pytest.mark.parametrize("suffix", [".ome.tif", ".ome.zarr"])
def test_four_times_closer_planes_are_said_to_others(tmp_path: Path, suffix: str) -> None:
    path, output = make("ome", tmp_path), tmp_path / f"out{suffix}"
    predict_file(random_model("isotropic", 4), str(path), output)
    compare((of_tiff if suffix == ".ome.tif" else of_zarr)(output), SOURCES["ome"], across=1, deep=4)
    assert io.open(output).sizes == {"band": 2, "t": 2, "z": 8, "y": 20, "x": 28}


@pytest.mark.filterwarnings("ignore:As of version", "ignore:.* than Nyquist of the optics", "ignore:planes are .*")
def test_bioio_reads_results(tmp_path: Path) -> None:
    predict_file(random_model(), str(make("ome", tmp_path)), tmp_path / "out.ome.tif")
    image, known = bioio.BioImage(tmp_path / "out.ome.tif"), SOURCES["ome"]
    assert image.dims.order == "TCZYX"
    assert image.shape == (2, 2, 2, 40, 56)
    assert image.channel_names == known.names
    sizes = image.physical_pixel_sizes
    in_micrometres = [IN_MICROMETRES[unit] for unit in known.units[:3]]
    found = [size * unit for size, unit in zip((sizes.X, sizes.Y, sizes.Z), in_micrometres)]
    assert found == pytest.approx([known.size[0] / 2, known.size[1] / 2, known.size[2]])
    assert np.array_equal(image.data, io.open(tmp_path / "out.ome.tif").transpose("t", "band", "z", "y", "x").values)


@pytest.mark.filterwarnings("ignore:.* than Nyquist of the optics", "ignore:planes are .* apart")
@pytest.mark.parametrize("kind", SOURCES)
def test_ome_zarr_models_reads_results(tmp_path: Path, kind: str) -> None:
    predict_file(random_model(), str(make(kind, tmp_path)), tmp_path / "out.ome.zarr")
    image = ome_zarr_models.open_ome_zarr(zarr.open_group(tmp_path / "out.ome.zarr", mode="r"))
    assert isinstance(image, ome_zarr_models.v05.Image)
    scales, known = image.ome_attributes.multiscales[0], SOURCES[kind]
    assert [axis.name for axis in scales.axes] == ["t", "c", "z", "y", "x"]
    x = scales.datasets[0].coordinateTransformations[0].scale[-1] * IN_MICROMETRES[scales.axes[-1].unit]
    assert x == pytest.approx(known.size[0] / 2)
