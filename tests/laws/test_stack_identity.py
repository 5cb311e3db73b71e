"""Law 4 for stacks: where the engine has nothing to add, `predict` returns them bit for bit, with all they say."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray

from sciddiff import io
from sciddiff.inference import predict_file
from sciddiff.model import Model
from tests.io.stacks import ome_zarr
from tests.laws.stacks import random_model, stack_file, stored, values
from tests.laws.test_identity import Identity, build_blank

AXES = "TCZYX"


class EachChannel(Identity):
    channelwise = True


def identity_model() -> Model:
    task = EachChannel(("intensity",))
    return dataclasses.replace(random_model(), task=task, network=build_blank(1), residual_root=torch.eye(1))


def bits(shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    """All numbers of a type; of floats NaN with and without payload, infinity and minus zero among them."""
    rng = np.random.default_rng(sum(shape))
    if np.dtype(dtype).kind == "f":
        numbers = rng.normal(0, 1e3, shape).astype(dtype)
        numbers.flat[:4] = np.nan, -0.0, 1e-42, 3e38
        return numbers
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)


def five(pixels: NDArray[Any], axes: str) -> NDArray[Any]:
    """The same as (t, c, z, y, x)."""
    missing = [axis for axis in AXES if axis not in axes]
    order = [*axes, *missing]
    return pixels.reshape(*pixels.shape, *[1] * len(missing)).transpose([order.index(axis) for axis in AXES])


def _ome(axes: str, shape: tuple[int, ...], dtype: str) -> Callable[[Path], NDArray[Any]]:
    def make(path: Path) -> NDArray[Any]:
        pixels = bits(shape, dtype)
        told = {"axes": axes, "PhysicalSizeX": 0.1, "PhysicalSizeY": 0.1, "PhysicalSizeZ": 0.3}
        tifffile.imwrite(path.with_suffix(".ome.tif"), pixels, metadata=told, photometric="minisblack")
        return five(pixels, axes)

    return make


def _tiff(axes: str, shape: tuple[int, ...], dtype: str, **how: Any) -> Callable[[Path], NDArray[Any]]:
    def make(path: Path) -> NDArray[Any]:
        pixels = bits(shape, dtype)
        tifffile.imwrite(path.with_suffix(".tif"), pixels, metadata={"axes": axes}, **how)
        return five(pixels, axes)

    return make


def _zarr(axes: str, shape: tuple[int, ...], dtype: str, version: str) -> Callable[[Path], NDArray[Any]]:
    def make(path: Path) -> NDArray[Any]:
        pixels = bits(shape, dtype)
        ome_zarr(path.with_suffix(".ome.zarr"), pixels, axes, version=version)
        return five(pixels, axes)

    return make


ZOO = {
    "times": _ome("TYX", (3, 20, 28), "uint8"),
    "planes": _tiff("ZYX", (3, 20, 28), "uint16", imagej=True),
    "channels": _ome("CYX", (3, 20, 28), "uint16"),
    "signed": _ome("TCZYX", (2, 2, 2, 17, 9), "int16"),
    "floats": _ome("ZYX", (3, 20, 28), "float32"),
    "doubles": _ome("TYX", (2, 9, 8), "float64"),
    "one": _ome("YX", (20, 28), "uint8"),
    "thin": _zarr("ZYX", (3, 20, 1), "uint16", "0.5"),
    "flat": _ome("TZYX", (2, 2, 1, 28), "uint8"),
    "uncalibrated": _tiff("ZYX", (3, 20, 28), "uint32", photometric="minisblack"),
    "swapped": _ome("ZTCYX", (2, 3, 2, 12, 10), "uint16"),
    "hyperstack": _tiff("TZCYX", (2, 2, 3, 12, 10), "float32", imagej=True),
    "zarr": _zarr("ZCYX", (3, 2, 20, 28), "uint16", "0.4"),
    "zarr_turned": _zarr("CTYX", (2, 3, 20, 28), "int16", "0.5"),
}


def same_bits(one: NDArray[Any], other: NDArray[Any]) -> None:
    assert one.dtype == other.dtype
    assert one.shape == other.shape
    assert np.ascontiguousarray(one).tobytes() == np.ascontiguousarray(other).tobytes()


@pytest.mark.filterwarnings("ignore:.* are saturated")
@pytest.mark.parametrize("name", ZOO)
def test_predict_returns_every_stack_as_it_was(name: str, tmp_path: Path) -> None:
    expected, model = ZOO[name](tmp_path / name), identity_model()
    (path,) = tmp_path.iterdir()
    image = io.open(path)
    result = model.predict(image, tile=16)["mean"]
    same_bits(result.values, image.values)
    for suffix in (".ome.tif", ".ome.zarr"):
        output = tmp_path / f"out{suffix}"
        predict_file(model, str(path), output, tile=16)
        same_bits(stored(output), expected)
        said, again = image.encoding["stack"], io.open(output).encoding["stack"]
        kept = tuple(item for item in again.annotations if item.namespace != "sciddiff")  # of provenance
        assert dataclasses.replace(again, axes=said.axes, annotations=kept) == said
        io.save(result, tmp_path / f"saved{suffix}")
        same_bits(stored(tmp_path / f"saved{suffix}"), expected)
    with tifffile.TiffFile(tmp_path / "out.ome.tif") as tiff:
        same_bits(tiff.series[0].asarray().reshape(expected.shape), expected)


def test_what_is_predicted_in_memory_is_saved_with_all_it_says(tmp_path: Path) -> None:
    """Its frames kept their places in a file, but lost them in memory: the result had no coordinates t and z."""
    image = io.open(stack_file(tmp_path / "in.ome.tif"))
    result = identity_model().predict(image)["mean"]
    assert (result.t.values == image.t.values).all()
    assert (result.z.values == image.z.values).all()
    for suffix in (".ome.tif", ".ome.zarr"):
        io.save(result, tmp_path / f"out{suffix}")
        assert io.open(tmp_path / f"out{suffix}").encoding["stack"] == image.encoding["stack"]
        same_bits(stored(tmp_path / f"out{suffix}"), values())


def test_a_part_of_a_stack_is_predicted_where_it_is(tmp_path: Path) -> None:
    image = io.open(stack_file(tmp_path / "in.ome.tif", (2, 2, 3, 20, 28)))
    part = image.isel(t=[1], z=slice(1, 3), y=slice(4, 20), x=slice(6, 20))
    io.save(identity_model().predict(part)["mean"], tmp_path / "out.ome.tif")
    io.save(part, tmp_path / "part.ome.tif")
    one, other = (io.open(tmp_path / name).encoding["stack"] for name in ("out.ome.tif", "part.ome.tif"))
    assert one == other
    same_bits(stored(tmp_path / "out.ome.tif"), stored(tmp_path / "part.ome.tif"))
