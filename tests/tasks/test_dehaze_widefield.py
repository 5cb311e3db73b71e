"""Light out of focus: simulated and real pairs, the local background, the laws."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox

from sciddiff import io
from sciddiff.errors import InputError, OptionError
from sciddiff.io.image import assemble
from sciddiff.model import build, load
from sciddiff.physics.blur import gaussian_blur
from sciddiff.physics.fractal import fractal_noise
from sciddiff.recipe import load_recipe, parse_recipe
from sciddiff.recipe.schema import Recipe
from sciddiff.tasks import build_task
from sciddiff.tasks.dehaze_widefield import DehazeWidefield, background
from sciddiff.tasks.local import box_mean
from sciddiff.training import train
from sciddiff.training.patches import draw_batch, open_scenes

HEAD = """
version: 1
name: focus
task: {kind: dehaze_widefield%s}
bands: [intensity]
network: {widths: [8], encoder_blocks: [0], denoiser_blocks: [1], stem: 2, embedding: 8}
"""
BESIDE = ", neighbours: {along: z, planes: 1}"


def task_of(more: str = "") -> DehazeWidefield:
    task = build_task(parse_recipe(HEAD % more + "training: {patch: 32}\n"))
    assert isinstance(task, DehazeWidefield)
    return task


def cells(side: int = 160, count: int = 1, seed: int = 0) -> torch.Tensor:
    """Bright shapes on dark ground, (count, 1, side, side)."""
    source = torch.Generator().manual_seed(seed)
    shape = fractal_noise((count, side, side), generator=source, beta=3.0)[:, None] > 1
    return shape * (1 + 0.2 * fractal_noise((count, side, side), generator=source, beta=2.0)[:, None])


def image_of(values: np.ndarray) -> xr.DataArray:
    grid = GeoBox(values.shape[1:], Affine.identity(), None)
    return io.from_array(values, grid=grid, bands=["intensity"], valid=np.ones(values.shape, bool))


# ---- simulation and base ----


def test_the_input_is_the_truth_and_light_from_elsewhere() -> None:
    task, clean = task_of(", dose: [1e6, 1e6], read_noise: [1, 1]"), cells(count=4)
    obs = task.simulate(clean, None)
    truth = task.truth(clean, obs)
    assert truth.min() == 0
    added = obs.inputs["image"] - truth
    assert (added > -0.01).all()
    mean, background = np.sqrt(0.2 * 4), np.sqrt(0.02 * 2)  # the middle of the ranges, over the mean in focus
    torch.testing.assert_close(
        added.mean((1, 2, 3)) / truth.mean((1, 2, 3)), torch.full((4,), mean + background), rtol=0.25, atol=0
    )
    rough = (added - gaussian_blur(added, (2.0, 2.0))).std() / added.std()
    assert rough < 0.2  # nothing sharp is added
    again, other = (task.simulate(clean, torch.Generator().manual_seed(seed)).inputs["image"] for seed in (1, 2))
    assert torch.equal(again, task.simulate(clean, torch.Generator().manual_seed(1)).inputs["image"])
    assert not torch.equal(again, other)


def test_the_background_is_below_structures_and_keeps_what_is_smooth() -> None:
    flat = torch.full((1, 1, 96, 96), 7.0, dtype=torch.float64)
    torch.testing.assert_close(background(flat), flat)
    spots = flat.clone()
    spots[..., 20:30, 40:50] += 5
    torch.testing.assert_close(background(spots), flat)
    slope = torch.arange(96, dtype=torch.float64)[:, None].expand(1, 1, 96, 96) / 10
    inner = slice(40, 56)
    torch.testing.assert_close(background(slope)[..., inner, inner], slope[..., inner, inner], atol=1e-6, rtol=0)


def test_the_base_takes_most_of_the_haze_off_and_the_scale_is_its_error() -> None:
    task, clean = task_of(), cells(count=6)
    for source in (None, torch.Generator().manual_seed(2)):
        obs = task.simulate(clean, source)
        truth, base = task.truth(clean, obs), task.base(obs)
        before, after = ((truth - each).square().mean() for each in (obs.inputs["image"], base))
        assert after < 0.5 * before
        spread = ((truth - base) / task.condition(obs, base).scale).std((1, 2, 3))
        assert ((spread > 0.15) & (spread < 3)).all()  # haze itself is drawn over a factor of twenty


def test_any_gain_and_offset_of_the_camera_gives_the_same() -> None:
    task = task_of()
    image = task.simulate(cells(96), None).inputs["image"].double()
    one, two = task.observe({"image": image}), task.observe({"image": 3 * image + 100})
    base = task.base(one)
    torch.testing.assert_close(task.base(two), 3 * base)
    first, second = task.condition(one, base), task.condition(two, task.base(two))
    torch.testing.assert_close(second.scale, 3 * first.scale)
    torch.testing.assert_close(second.maps, first.maps)


def test_planes_along_z_share_their_light() -> None:
    task = task_of(BESIDE + ", dose: [1e6, 1e6], read_noise: [1, 1], defocus: [3, 3]")
    empty = torch.full((1, 1, 96, 96), 1e-3)
    empty[..., 0, 0] = 1
    bright = torch.zeros(1, 1, 96, 96)
    bright[..., 40:56, 40:56] = 1
    obs = task.simulate(torch.cat([empty, bright, 0 * bright], 1), None)
    image = obs.inputs["image"][0, 0]
    assert image[44:52, 44:52].mean() > 3 * image[:16, :16].mean()  # glow of the plane above, none of its own
    assert obs.inputs["neighbour_known"].mean((0, 2, 3)).tolist() == [1, 0]
    assert not obs.inputs["neighbour"][:, 1].any()
    base = task.base(obs)
    maps = task.condition(obs, base).maps
    assert maps.shape[1] == task.maps == 9
    assert not maps[:, 6].any()  # the plane that is not there
    volume = build_task(parse_recipe(HEAD % BESIDE + "training: {patch: 32}\n", overrides=["network.dims=3"]))
    planes = volume.condition(obs, base).maps
    assert planes.shape[1] == volume.maps == 11
    assert torch.equal(planes[:, [0, 1, 2, 3, 4, 5, 7, 8, 10]], maps)
    alike = replace(obs, inputs=obs.inputs | {"neighbour": obs.inputs["image"].expand(-1, 2, -1, -1)})
    same = volume.condition(alike, base).maps
    assert torch.equal(same[:, 6], same[:, 5])  # the restored plane and the one above, were they the same
    assert (same[:, 9] == 1).all()


# ---- laws ----


def test_nothing_beyond_the_radius_counts() -> None:
    task = task_of()
    side = 2 * (task.radius + 8) // 8 * 8
    image = torch.randn(1, 1, side, side, generator=torch.Generator().manual_seed(0))
    other = image.clone()
    other[..., 0, :] += 10
    results = []
    for each in (image, other):
        obs = task.observe({"image": each})
        base = task.base(obs)
        results.append(torch.cat([base, *vars(task.condition(obs, base)).values()], 1))
    change = (results[0] - results[1]).abs().amax((0, 1, 3))
    assert not change[task.radius + 1 :].any()
    assert change[:8].any()


@pytest.mark.parametrize("dims", [2, 3])
def test_tiles_equal_the_whole_and_planes_of_a_stack_are_seen(dims: int) -> None:
    model = build(parse_recipe(HEAD % BESIDE + "training: {patch: 32}\n", overrides=[f"network.dims={dims}"]))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    values = 10 + cells(72, 3)[:, 0, :, :58].numpy()[None, None]  # band t z y x
    grid = GeoBox(values.shape[3:], Affine.identity(), None)
    dims = ("band", "t", "z", "y", "x")
    stack = assemble(values, np.ones(values.shape, bool), grid=grid, bands=["a"], dims=dims)
    whole, tiled = (model.predict(stack, tile=tile, tolerance=None)["mean"].values for tile in (10_000, 32))
    np.testing.assert_allclose(tiled, whole, rtol=0, atol=1e-4)
    alone = model.predict(stack.isel(z=slice(0, 2)), tolerance=None)["mean"].values
    np.testing.assert_array_equal(alone[0, 0, 0], whole[0, 0, 0])  # sees one plane further, which is the same
    assert np.abs(alone[0, 0, 1] - whole[0, 0, 1]).max() > 1e-3  # misses the plane below


def test_what_it_does_not_know_is_refused() -> None:
    with pytest.raises(OptionError, match="knows no psf of an instrument"):
        task_of().observe({"image": torch.zeros(1, 1, 8, 8)}, {"psf": (1.0,)})
    with pytest.raises(OptionError, match="one band"):
        build_task(parse_recipe((HEAD % "").replace("[intensity]", "[red, green]")))


# ---- training ----


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A confocal picture in units of its own, and a widefield one of the same pixels in one file of two bands."""
    folder = tmp_path_factory.mktemp("pair")
    sharp = cells(160)
    hazy = task_of().simulate(sharp, None).inputs["image"]
    io.save(image_of(300 * sharp[0].numpy() + 40), folder / "sharp.tif")
    grid = GeoBox((160, 160), Affine.identity(), None)
    both = np.stack([np.zeros((160, 160), np.float32), 900 + 50 * hazy[0, 0].numpy()])
    io.save(
        io.from_array(both, grid=grid, bands=["other", "wide"], valid=np.ones(both.shape, bool)), folder / "hazy.tif"
    )
    return folder


def recipe_of(folder: Path, source: str) -> Recipe:
    path = folder / f"{abs(hash(source))}.yaml"
    path.write_text(
        HEAD % ""
        + f"data: {{train: [{source}], valid: [{source}]}}\n"
        + "training: {patch: 96, batch: 2, steps: 100, warmup: 5, ema: 0.9, learning_rate: 0.01, validate_every: 100}\n"
    )
    return load_recipe(path)


PAIR = "{path: sharp.tif, noisy: hazy.tif, noisy_bands: [wide]}"


@pytest.mark.parametrize("source", ["{path: sharp.tif}", PAIR])
def test_it_learns_from_sharp_pictures_and_from_pairs(folder: Path, tmp_path: Path, source: str) -> None:
    model = load(train(recipe_of(folder, source), tmp_path))
    scores = model.record["metrics"]["validation"]
    assert scores["mean"] > scores["linear"] + 0.2


def test_pairs_come_in_levels_of_the_sharp_one(folder: Path) -> None:
    recipe = recipe_of(folder, PAIR)
    task = build_task(recipe)
    scenes = open_scenes(recipe, task, recipe.data.train)
    windows = np.concatenate([draw_batch(scenes, recipe, task, step=step) for step in range(4)])
    sharp, hazy = windows[:, 0], windows[:, 1]
    assert 0.9 < sharp.max() < 1.5
    assert abs((hazy - sharp).mean()) < 0.3  # the affine map takes the mean of the haze off
    fine = [each - box_mean(torch.from_numpy(each)[:, None], 9)[:, 0].numpy() for each in (sharp, hazy)]
    assert np.polyfit(*(each.ravel() for each in fine), 1)[0] == pytest.approx(1, abs=0.15)  # and haze is no contrast
    obs = task.simulate(torch.from_numpy(windows), torch.Generator().manual_seed(0))
    assert torch.equal(obs.inputs["image"][:, 0], torch.from_numpy(hazy))
    assert torch.equal(task.truth(torch.from_numpy(windows), obs)[:, 0], torch.from_numpy(sharp))


def test_pairs_that_are_none_are_refused(folder: Path) -> None:
    recipe = recipe_of(folder, "{path: sharp.tif, noisy: hazy.tif, noisy_bands: [other]}")
    with pytest.raises(InputError, match="shows nothing that its noisy image shows"):
        open_scenes(recipe, build_task(recipe), recipe.data.train)
    recipe = recipe_of(folder, "{path: sharp.tif, noisy_only: true}")
    with pytest.raises(InputError, match="learns nothing of noise alone"):
        open_scenes(recipe, build_task(recipe), recipe.data.train)
