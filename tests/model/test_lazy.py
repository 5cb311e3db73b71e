"""A chunked image is predicted lazily, to the bytes that the image in memory gives."""

from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr

from sciddiff import io, save
from sciddiff.errors import InputError, OptionError
from sciddiff.model import Model, layout, tiles
from tests.inference.conftest import small_model, write_scene


@pytest.fixture(scope="module")
def model() -> Model:
    return small_model()


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> xr.DataArray:
    return io.open(write_scene(tmp_path_factory.mktemp("lazy") / "scene.tif"))


def same(lazy: xr.Dataset, eager: xr.Dataset) -> None:
    assert list(lazy) == list(eager)
    for name in eager:
        assert np.array_equal(lazy[name].values, eager[name].values, equal_nan=True)
        assert (lazy[name].valid.values == eager[name].valid.values).all()
        assert lazy[name].encoding["raster"] == eager[name].encoding["raster"]
        assert io.grid_of(lazy[name]) == io.grid_of(eager[name])
        assert lazy[name].dtype == eager[name].dtype


@pytest.mark.parametrize("chunks", [{"y": 13, "x": 29}, {"y": -1, "x": -1}, {"band": 1, "y": 70, "x": 1}])
@pytest.mark.parametrize("asked", [{"steps": 1}, {"steps": 3, "samples": 2, "seed": 4}])
def test_any_chunks_give_the_same_bytes(
    model: Model, image: xr.DataArray, chunks: dict[str, int], asked: dict[str, Any]
) -> None:
    eager = model.predict(image, tile=48, **asked)
    lazy = model.predict(image.chunk(chunks), tile=48, **asked)
    assert all(lazy[name].chunks is not None for name in lazy)
    for scheduler in ("threads", "synchronous"):
        with dask.config.set(scheduler=scheduler):
            same(lazy.compute(), eager)


def test_nothing_is_computed_before_it_is_asked_for(
    model: Model, image: xr.DataArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[int] = []
    compute = tiles._compute
    monkeypatch.setattr(tiles, "_compute", lambda *given, **named: (computed.append(1), compute(*given, **named))[1])

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("computed too early")

    with dask.config.set(scheduler=refuse):
        result = model.predict(image.chunk({"y": 20, "x": 20}), tile=32)
    assert not computed
    with dask.config.set(scheduler="synchronous"):
        result["mean"].isel(y=slice(0, 8), x=slice(0, 8)).compute()
    assert computed == [1]


def test_refusals_come_at_once(model: Model, image: xr.DataArray) -> None:
    chunked = image.chunk({"y": 20, "x": 20})
    with pytest.raises(InputError, match="nir"):
        model.predict(chunked.isel(band=[0]))
    with pytest.raises(OptionError, match="samples"):
        model.predict(chunked, steps=1, samples=3)


def test_invalid_windows_are_not_run_and_all_invalid_gives_nothing(model: Model, image: xr.DataArray) -> None:
    blank = xr.DataArray(da.full((2, 64, 64), np.nan, chunks=(1, 20, 20)), dims=("band", "y", "x"))
    result = model.predict(blank.assign_coords(band=["red", "nir"]), tile=32)["mean"].compute()
    assert np.isnan(result.values).all()
    assert not result.valid.values.any()


def test_only_what_a_core_needs_is_read(model: Model) -> None:
    """One core of a result that no memory would hold."""
    touched: list[Any] = []

    def block(block_info: Any = None) -> Any:
        place = block_info[None]["chunk-location"]
        touched.append(place)
        return np.random.default_rng(place).normal(size=(2, 500, 500)).astype(np.float32)

    huge = da.map_blocks(block, chunks=((2,), (500,) * 40, (500,) * 40), dtype=np.float32, meta=np.empty((0, 0, 0)))
    image = xr.DataArray(huge, dims=("band", "y", "x"), coords={"band": ["red", "nir"]})
    result = model.predict(image, tile=1000)["mean"]
    assert result.shape == (2, 40000, 40000)
    touched.clear()
    with dask.config.set(scheduler="synchronous"):
        core = result.isel(y=slice(20000, 20010), x=slice(20000, 20010)).compute()
    assert np.isfinite(core.values).all()
    near = {place for place in touched if 18 <= place[1] <= 22 and 18 <= place[2] <= 22}
    assert len(set(touched) - near) <= layout.LOOKS * 4, "global statistics come from a few windows"
    assert near


def test_it_is_written_as_it_is_computed(model: Model, image: xr.DataArray, tmp_path: Path) -> None:
    eager = model.predict(image, tile=32)["mean"]
    save(model.predict(image.chunk({"y": 30, "x": 30}), tile=32)["mean"], tmp_path / "lazy.tif")
    save(eager, tmp_path / "eager.tif")
    assert (tmp_path / "lazy.tif").read_bytes() == (tmp_path / "eager.tif").read_bytes()


@pytest.mark.filterwarnings("ignore")
def test_a_cluster_gives_the_same_bytes(model: Model, image: xr.DataArray) -> None:
    distributed = pytest.importorskip("distributed")
    eager = model.predict(image, tile=48, steps=3, samples=2)
    lazy = model.predict(image.chunk({"y": 25, "x": 25}), tile=48, steps=3, samples=2)
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster),
    ):
        same(lazy.compute(), eager)


def test_the_model_stands_in_the_graph_once(model: Model, image: xr.DataArray) -> None:
    graph = dict(model.predict(image.chunk({"y": 20, "x": 20}), tile=16)["mean"].__dask_graph__())
    assert sum(isinstance(value, Model) for value in map(_payload, graph.values())) == 1
    assert len(graph) > 100


def _payload(node: Any) -> Any:
    return getattr(node, "value", node)
