"""A chunked stack is predicted lazily, to the bytes that the stack in memory gives."""

from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import xarray as xr

from sciddiff import io
from sciddiff.errors import InputError
from tests.laws.stacks import random_model, stack_file

pytestmark = pytest.mark.filterwarnings("ignore:.* than Nyquist of the optics", "ignore:planes are .* apart")


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> xr.DataArray:
    image = io.open(stack_file(tmp_path_factory.mktemp("lazy") / "in.ome.tif", (2, 2, 3, 20, 28), "float32"))
    hole = np.zeros(image.shape, bool)
    hole[0, 1, 2, 3:8, 4:12] = True
    hole[:, 0, 1] = True
    numbers = np.where(hole, np.nan, 16000 + 500 * image.values).astype(np.float32)
    return image.copy(data=numbers).assign_coords(valid=(image.dims, ~hole))


@pytest.mark.parametrize("chunks", [{"band": 1, "t": 2, "z": 2, "y": 7, "x": 28}, {"y": -1}])
def test_any_chunks_give_the_same_bytes(image: xr.DataArray, chunks: dict[str, int], tmp_path: Path) -> None:
    model = random_model()
    asked: dict[str, Any] = {"steps": 3, "samples": 2, "seed": 4, "tile": 24}
    eager, lazy = (model.predict(each, **asked) for each in (image, image.chunk(chunks)))
    assert list(lazy) == list(eager)
    assert all(lazy[name].chunks == ((2,), (1, 1), (1, 1, 1), (40,), (56,)) for name in lazy)
    for scheduler in ("threads", "synchronous"):
        with dask.config.set(scheduler=scheduler):
            found = lazy.compute()
        xr.testing.assert_identical(found, eager)
        assert all(found[name].dtype == eager[name].dtype for name in eager)
    assert lazy["mean"].encoding["stack"] == eager["mean"].encoding["stack"]
    io.save(lazy["mean"], tmp_path / "lazy.ome.tif")
    assert np.array_equal(io.open(tmp_path / "lazy.ome.tif").values, eager["mean"].values, equal_nan=True)


def test_nothing_is_computed_before_it_is_asked_for(image: xr.DataArray) -> None:
    def refuse(block: Any) -> Any:
        raise AssertionError("computed too early")

    chunked = image.chunk({"z": 1})
    result = random_model().predict(chunked.copy(data=chunked.data.map_blocks(refuse, dtype=np.float32)))
    with pytest.raises(AssertionError, match="too early"):
        result["mean"].isel(t=0, z=0).compute()


def test_sections_through_chunks_are_refused(image: xr.DataArray) -> None:
    with pytest.raises(InputError, match=r"chunked.*load it"):
        random_model("isotropic").predict(image.chunk({"z": 1}))
