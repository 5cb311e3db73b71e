"""Laws 2, 3 and 5 for stacks: however they are cut and computed, killed or not, their pixels are the same."""

import subprocess
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor

from sciddiff import io
from sciddiff.inference import assemble_file, predict_file
from sciddiff.model import Model
from sciddiff.tasks import Input, known_name
from tests.laws.stacks import random_model, stack_file, stored, values
from tests.laws.test_identity import Identity, build_blank

pytestmark = pytest.mark.filterwarnings("ignore:.* than Nyquist of the optics", "ignore:planes are .* apart")
KINDS = ("super_resolution", "isotropic", "volume")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stack_file(tmp_path_factory.mktemp("scene") / "scene.ome.tif")


@pytest.fixture(scope="module", params=KINDS)
def model(request: pytest.FixtureRequest) -> Model:
    return random_model(request.param)


@pytest.fixture(scope="module")
def whole(model: Model, scene: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process makes, core by core."""
    return launched(model, scene, tmp_path_factory.mktemp("whole") / "whole.ome.tif")


def launched(model: Model, scene: Path, output: Path, **how: Any) -> Path:
    predict_file(model, str(scene), output, tile=24, steps=3, **how)
    return output


@pytest.mark.parametrize("asked", [{"steps": 1}, {"steps": 3, "samples": 2, "seed": 4}])
def test_tiles_equal_the_whole(model: Model, scene: Path, asked: dict[str, Any]) -> None:
    image = io.open(scene)
    whole = model.predict(image, tile=10_000, **asked)
    for tile in (16, 36):
        tiled = model.predict(image, tile=tile, **asked)
        assert list(tiled) == list(whole)
        for name in whole:
            np.testing.assert_allclose(tiled[name].values, whole[name].values, rtol=0, atol=0.02)


def test_a_file_holds_what_memory_gives(model: Model, scene: Path, whole: Path) -> None:
    sample = model.predict(io.open(scene), tile=24, steps=3)["sample"]
    assert np.array_equal(stored(whole), np.rint(sample.values).swapaxes(0, 1).clip(0, 65535))
    reopened = io.open(whole)
    assert reopened.dims == sample.dims
    for name in ("band", "t", "z", "y", "x"):
        assert (reopened[name].values == sample[name].values).all()
    assert io.grid_of(reopened) == io.grid_of(sample)


@pytest.mark.parametrize("suffix", [".ome.tif", ".ome.zarr"])
def test_shards_and_batches_write_the_same_pixels(
    model: Model, scene: Path, whole: Path, tmp_path: Path, suffix: str
) -> None:
    output = tmp_path / f"out{suffix}"
    for number, batch in ((1, 3), (2, 1), (0, 2)):
        launched(model, scene, output, shard=(number, 3), batch=batch)
    assemble_file(output)
    assert np.array_equal(stored(output), stored(whole))


def test_workers_write_the_same_pixels(model: Model, scene: Path, whole: Path, tmp_path: Path) -> None:
    assert np.array_equal(stored(launched(model, scene, tmp_path / "out.ome.zarr", workers=2)), stored(whole))


def test_dask_writes_the_same_pixels(model: Model, scene: Path, whole: Path, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        output = launched(model, scene, tmp_path / "out.ome.tif", dask=cluster.scheduler_address)
    assert np.array_equal(stored(output), stored(whole))


def test_uncertainty_is_the_same_in_both_formats(scene: Path, tmp_path: Path) -> None:
    model, found = random_model(), []
    for suffix in (".ome.tif", ".ome.zarr"):
        spread = tmp_path / f"spread{suffix}"
        launched(model, scene, tmp_path / f"out{suffix}", samples=2, uncertainty=spread)
        found.append(stored(spread))
        names = [f"{band}_{name}" for name in ("std", "lower", "upper") for band in ("DAPI", "GFP <1>")]
        assert list(io.open(spread).band.values) == names
    assert np.array_equal(*found)
    assert found[0].dtype == np.float32
    assert (found[0][:, :2] > 0).all()


def test_planes_frames_and_channels_have_noise_of_their_own(model: Model, tmp_path: Path) -> None:
    """Where all planes are the same, so is the mean of a channel; samples are not."""
    image = io.open(stack_file(tmp_path / "in.ome.tif"))
    same = image.copy(data=np.broadcast_to(image.values[:1, :1, :1], image.shape).copy())
    result = model.predict(same, steps=3)
    mean = result["mean"].values
    if model.task.depth_ratio is None and model.task.neighbours is None:
        assert np.array_equal(mean, np.broadcast_to(mean[:, :1, :1], mean.shape))
    noise = (result["sample"].values - mean).reshape(-1, mean.shape[-2] * mean.shape[-1])
    for one, other in combinations(noise, 2):
        assert abs(np.corrcoef(one, other)[0, 1]) < 0.3


def test_sections_along_x_and_along_y_draw_independent_noise() -> None:
    """Of several bands, too: that of one band and view is not that of another."""
    from sciddiff.model import restore, sections
    from sciddiff.model.layout import Layout
    from sciddiff.model.windows import Window

    asked: list[tuple[int, int]] = []

    def restored(_: Model, parts: Tensor, *__: Any, channel: int, **___: Any) -> list[Tensor]:
        asked.append((channel, channel + parts.shape[1]))
        return [torch.zeros(len(parts), parts.shape[1], 4, 4)]

    layout = Layout((4, 4), 1, 4, 0, "", fallback={}, frames=(1, 4), deep=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sections, "_restored", restored)
        volume, window = torch.zeros(3, 2, 4, 4), Window(0, 0, 4, 4)
        list(sections.restore_volume(random_model(), volume, layout, window, {}, engine=restore))
    assert asked == [(0, 3), (3, 6)]


class Beside(Identity):
    """image + 10 x plane before + 100 x plane after, those that there are."""

    channelwise = True
    neighbours = ("z", 1)

    def __init__(self, axis: str) -> None:
        super().__init__(("intensity",))
        self.neighbours = axis, 1
        self.inputs = (*self.inputs, Input("neighbour", self.bands, most=2, required=False))

    def base(self, obs: Any) -> Tensor:
        beside = obs.inputs["neighbour"] * obs.inputs[known_name("neighbour")]
        return obs.inputs["image"] + 10 * beside[:, :1] + 100 * beside[:, 1:]


def beside_model(axis: str) -> Model:
    import dataclasses

    return dataclasses.replace(random_model(), task=Beside(axis), network=build_blank(1), residual_root=torch.eye(1))


@pytest.mark.parametrize("axis", ["t", "z"])
def test_planes_beside_one_are_read_and_those_beyond_the_ends_are_not(tmp_path: Path, axis: str) -> None:
    path = stack_file(tmp_path / "in.ome.tif", (3, 2, 3, 20, 28), "float32")
    image, model = io.open(path), beside_model(axis)
    before, after = (image.shift({axis: step}, fill_value=0).values for step in (1, -1))
    expected = image.values + 10 * before + 100 * after
    for given in (image, image.chunk({"t": 1, "z": 2, "x": 11})):
        np.testing.assert_allclose(model.predict(given, tile=16)["mean"].values, expected, rtol=1e-5, atol=1e-5)
    predict_file(model, str(path), tmp_path / "out.ome.tif", tile=16)
    np.testing.assert_allclose(stored(tmp_path / "out.ome.tif").swapaxes(0, 1), expected, rtol=1e-5, atol=1e-5)


STORM = """
import os, random, signal, sys, time, warnings
from pathlib import Path
warnings.simplefilter("ignore")
import numpy as np, torch
torch.set_num_threads(1)
from sciddiff.inference import predict_file
from tests.laws.stacks import random_model, stored

folder, kills, suffix, kind = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
model, out = random_model(kind), folder / f"out{suffix}"

def attempt(seconds):
    child = os.fork()
    if child == 0:
        code = 1
        try:
            predict_file(model, str(folder / "scene.ome.tif"), out, tile=16, steps=2)
            code = 0
        finally:
            os._exit(code)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)

begun = time.monotonic()
assert attempt(600) == 0
length, whole = time.monotonic() - begun, stored(out)
rng, done = random.Random(7), 0
while True:
    if out.exists() and not Path(f"{out}.run").exists():
        assert np.array_equal(stored(out), whole)
        __import__("shutil").rmtree(out) if out.is_dir() else os.unlink(out)
        if done >= kills:
            break
    code = attempt(rng.uniform(0, length) if done < kills else 600)
    assert code in (0, None), code
    done += code is None
print(done)
"""


@pytest.mark.parametrize(("kind", "suffix"), list(zip(KINDS, (".ome.tif", ".ome.zarr", ".ome.tif"), strict=True)))
def test_kills_cost_no_pixel(tmp_path: Path, kind: str, suffix: str) -> None:
    stack_file(tmp_path / "scene.ome.tif")
    command = [sys.executable, "-c", STORM, str(tmp_path), "4", suffix, kind]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200)
    assert done.stdout == "4\n", done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"scene.ome.tif", f"out{suffix}.json"}


def test_invalid_pixels_of_floats_stay_so_and_are_never_felt(model: Model, tmp_path: Path) -> None:
    shape = (1, 2, 3, 20, 28)
    image = io.open(stack_file(tmp_path / "in.ome.tif", shape, "float32"))
    numbers = 16000 + 500 * values(shape, "float32").swapaxes(0, 1)
    hole = np.zeros(numbers.shape, bool)
    hole[0, 0, 1, 4:9, 5:12] = True
    hole[1, 0, 2] = True
    nan, huge = (np.where(hole, worth, numbers) for worth in (np.nan, 1e30))
    told = image.copy(data=nan).assign_coords(valid=(image.dims, ~hole))
    hidden = image.copy(data=huge).assign_coords(valid=(image.dims, ~hole))
    one, other = (model.predict(each)["mean"].values for each in (told, hidden))
    deep, fine = model.task.depth_ratio or 1, model.task.inputs[0].ratio
    holes = hole.repeat(deep, 2).repeat(fine, 3).repeat(fine, 4)
    assert np.array_equal(np.isnan(one), holes)
    assert np.array_equal(one, other, equal_nan=True)


def test_the_plan_of_many_planes_looks_at_few(scene: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sciddiff.model.layout import global_mean

    planes = np.broadcast_to(np.arange(20_000, dtype=np.float32)[None, :, None, None, None], (1, 20_000, 1, 8, 8))
    image = xr.DataArray(planes, dims=("band", "t", "z", "y", "x"))
    taken: list[Any] = []
    isel = xr.DataArray.isel
    monkeypatch.setattr(xr.DataArray, "isel", lambda *given, **named: (taken.append(1), isel(*given, **named))[1])
    assert global_mean(image)[0] == pytest.approx(10_000, rel=0.1)
    assert len(taken) < 100
