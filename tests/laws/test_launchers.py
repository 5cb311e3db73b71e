"""Law 4 by every launcher and in every format: shards, workers and Dask write what one process writes."""

import functools
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sciddiff import io
from sciddiff.inference import assemble_file, predict_file
from sciddiff.io.ome import TYPES
from sciddiff.model import Model
from tests.io.test_formats import same_images
from tests.laws.test_identity import identity_model
from tests.zoo import compare_rasters, make_zoo

SUFFIXES = (".tif", ".zarr", ".ome.zarr", ".ome.tif")


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        zoo = make_zoo(tmp_path_factory.mktemp("zoo"))
    return {name: path for name, path in zoo.items() if name != "all_invalid"}


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        yield cluster.scheduler_address


@functools.cache
def model_of(path: Path) -> Model:
    return identity_model(path)


def by_shards(path: Path, output: Path) -> None:
    model = model_of(path)
    for number in (1, 0):
        predict_file(model, str(path), output, tile=64, shard=(number, 2))
    assemble_file(output)


def launched(path: Path, output: Path, **how: Any) -> None:
    predict_file(model_of(path), str(path), output, tile=64, **how)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_shards_return_every_raster_as_it_was(zoo: dict[str, Path], tmp_path: Path, suffix: str) -> None:
    check(zoo, tmp_path, suffix, by_shards)


@pytest.mark.filterwarnings("ignore")
def test_dask_returns_every_raster_as_it_was(zoo: dict[str, Path], tmp_path: Path, scheduler: str) -> None:
    """One format for each raster in turn."""
    in_turn(zoo, tmp_path, dask=scheduler)


@pytest.mark.filterwarnings("ignore")
def test_workers_return_every_raster_as_it_was(zoo: dict[str, Path], tmp_path: Path) -> None:
    """One format for each raster in turn, for a process takes seconds to start."""
    in_turn(zoo, tmp_path, workers=2)


def in_turn(zoo: dict[str, Path], folder: Path, **how: Any) -> None:
    for at, (name, path) in enumerate(zoo.items()):
        check({name: path}, folder, SUFFIXES[at % len(SUFFIXES)], lambda path, output: launched(path, output, **how))


def check(zoo: dict[str, Path], folder: Path, suffix: str, predict: Any) -> None:
    """Types that OME-TIFF does not have go to a GeoTIFF."""
    for name, path in zoo.items():
        if suffix == ".ome.tif" and io.open(path).encoding["raster"].dtype not in TYPES:
            suffix = ".tif"
        output = folder / f"{name}{suffix}"
        predict(path, output)
        if suffix == ".tif":
            compare_rasters(path, output)
        else:
            plain = folder / f"{name}.plain.tif"
            launched(path, plain)
            same_images(io.open(output), io.open(plain))
