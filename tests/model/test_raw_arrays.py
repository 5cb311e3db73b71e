"""Arrays that came from no file: what a DataArray does not say is taken as it is taken everywhere."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from sciddiff import io
from sciddiff.errors import InputError
from sciddiff.model import Model
from tests.laws.stacks import random_model, stack_file, values

pytestmark = pytest.mark.filterwarnings("ignore:.* than Nyquist of the optics")
SIZES = {"band": 2, "t": 2, "z": 3, "y": 20, "x": 28}


@pytest.fixture(scope="module")
def model() -> Model:
    return random_model()


@pytest.fixture(scope="module")
def whole(model: Model) -> xr.Dataset:
    """Of all planes, each known to be valid."""
    return model.predict(told(numbers()))


def numbers() -> xr.DataArray:
    return xr.DataArray(values(tuple(SIZES.values()), "float32") * 500 + 16000, dims=tuple(SIZES))


def told(array: xr.DataArray) -> xr.DataArray:
    """With everything that `sciddiff.open` says."""
    return array.assign_coords(band=["a", "b"], valid=(array.dims, np.isfinite(array.values)))


@pytest.mark.parametrize(
    "dims", [("y", "x"), ("band", "y", "x"), ("z", "y", "x"), ("t", "y", "x"), ("t", "z", "band", "y", "x")]
)
@pytest.mark.parametrize("chunks", [None, {"x": 11}])
def test_any_dims_give_the_planes_that_they_have(
    model: Model, whole: xr.Dataset, dims: tuple[str, ...], chunks: dict[str, int] | None
) -> None:
    first = {dim: [0] for dim in SIZES if dim not in dims}
    array = numbers().isel(first).squeeze(list(first)).transpose(*dims)
    result = model.predict(array if chunks is None else array.chunk(chunks))["mean"]
    assert (result.chunks is None) == (chunks is None)
    expected = whole["mean"].isel(first)
    flat = "t" not in dims and "z" not in dims
    assert result.dims == (("band", "y", "x") if flat else expected.dims)
    np.testing.assert_allclose(result.values.squeeze(), expected.values.squeeze(), rtol=1e-5)


def test_pixels_that_are_not_finite_are_invalid_and_all_others_valid(model: Model) -> None:
    array = numbers()
    array[0, 1, 2, 4:9, 5:12] = np.nan
    array[1, 0, 0, 15, 20] = np.inf
    raw, known = (model.predict(each) for each in (array, told(array)))
    for name in known:
        np.testing.assert_array_equal(raw[name].values, known[name].values)
    holes = ~np.isfinite(array.values).repeat(2, 3).repeat(2, 4)
    assert np.array_equal(np.isnan(raw["mean"].values), holes)
    assert np.array_equal(raw["mean"].valid.values, ~holes)


@pytest.mark.parametrize("dtype", ["uint16", "int32", "float16"])
def test_integers_are_numbers(model: Model, dtype: str) -> None:
    array = numbers().isel(t=0).astype(dtype)
    result = model.predict(array)["mean"]
    kept = "float64" if dtype == "int32" else "float32"
    assert result.dtype == kept
    assert np.array_equal(result.values, model.predict(array.astype(kept))["mean"].values)


def test_a_plane_of_a_stack_is_the_one_that_was_chosen(model: Model, tmp_path: Path) -> None:
    stack = io.open(stack_file(tmp_path / "in.ome.tif"))
    result = model.predict(stack.isel(t=1))["mean"]
    np.testing.assert_allclose(result.values, model.predict(stack)["mean"].isel(t=[1]).values, rtol=0, atol=0.02)
    assert list(result.band.values) == list(stack.band.values)
    assert result.t.values == stack.t.values[1:]
    assert result.encoding["stack"].pixel_size.x == stack.encoding["stack"].pixel_size.x / 2


def test_an_image_that_says_everything_is_not_touched(tmp_path: Path) -> None:
    image = io.open(stack_file(tmp_path / "in.ome.tif"))
    assert io.completed(image) is image


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (xr.DataArray(np.zeros((2, 20, 28)), dims=("time", "y", "x")), "time=2, y=20, x=28"),
        (xr.DataArray(np.zeros((20, 28)), dims=("z", "x")), "z=20, x=28"),
        (xr.DataArray(np.zeros((20, 28), complex), dims=("y", "x")), "complex"),
    ],
)
def test_what_is_no_image_is_named(model: Model, array: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        model.predict(array)
