"""Laws 1 to 3: local, keyed, exact. A raster predicted in tiles equals the raster predicted whole."""

import numpy as np
import pytest
import torch
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox

from sciddiff import io
from sciddiff.model import Model, build, restore
from sciddiff.model.fit import fit
from sciddiff.model.layout import lay_out
from sciddiff.model.request import Request
from sciddiff.model.tiles import predict_tiles
from sciddiff.model.windows import lattice
from sciddiff.recipe import parse_recipe

RECIPE = """
version: 1
name: law
task: {kind: super_resolution, ratio: %d}
bands: [a, b]
network: {widths: [8, 12, 16], encoder_blocks: [1, 1, 1], denoiser_blocks: [1, 1, 1], stem: 2, embedding: 16}
training: {patch: 96}
"""


def random_model(ratio: int = 4, *overrides: str) -> Model:
    """A network whose every weight acts: the zeros of a fresh one are filled."""
    model = build(parse_recipe(RECIPE % ratio, overrides=overrides))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model


def scene(height: int, width: int, *, holes: bool = True) -> xr.DataArray:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(2, height, width)).cumsum(1).cumsum(2)
    values = (values / values.std() + rng.normal(size=values.shape) * 0.1).astype(np.float32)
    valid = np.ones(values.shape, bool)
    if holes:
        valid[:, 20:30, 11:25] = False
        valid[0, 5, 5] = False
        valid[:, -8:, :9] = False
    return io.from_array(values, grid=GeoBox((height, width), Affine.identity(), None), bands=["a", "b"], valid=valid)


@pytest.fixture(scope="module")
def model() -> Model:
    return random_model()


@pytest.mark.parametrize("steps", [1, 4, 8])
def test_tiles_equal_the_whole(model: Model, steps: int) -> None:
    image = scene(71, 58)
    whole = model.predict(image, steps=steps, tile=10_000, tolerance=None)
    for tile in (64, 96, 256):
        tiled = model.predict(image, steps=steps, tile=tile, tolerance=None)
        for name in whole:
            np.testing.assert_allclose(tiled[name].values, whole[name].values, rtol=0, atol=1e-5)
            assert np.array_equal(np.isnan(tiled[name].values), np.isnan(whole[name].values))


@pytest.mark.parametrize("ratio", [2, 3])
def test_tiles_equal_the_whole_at_other_ratios(ratio: int) -> None:
    model, image = random_model(ratio), scene(61, 47)
    whole = model.predict(image, steps=3, tile=10_000, tolerance=None)["sample"].values
    tiled = model.predict(image, steps=3, tile=48, tolerance=None)["sample"].values
    np.testing.assert_allclose(tiled, whole, rtol=0, atol=1e-5)


def test_tiles_equal_the_whole_where_the_targets_sharpness_is_told() -> None:
    model, image, told = random_model(2, "task.target_mtf=0.3"), scene(61, 47), {"target_mtf": (0.9, 0.15)}
    whole = model.predict(image, steps=3, tile=10_000, tolerance=None, instrument=told)["sample"].values
    tiled = model.predict(image, steps=3, tile=48, tolerance=None, instrument=told)["sample"].values
    np.testing.assert_allclose(tiled, whole, rtol=0, atol=1e-5)
    untold = model.predict(image, steps=3, tile=10_000)["sample"].values
    assert np.nanstd(whole[0] - untold[0]) > 0.01
    assert np.nanstd(whole[0]) > np.nanstd(untold[0])


def test_batch_and_order_change_nothing(model: Model) -> None:
    fitted = fit(model.recipe, scene(48, 48))
    layout = lay_out(model, fitted, tile=64, tolerance=None)
    request = Request(steps=3, samples=2)

    def run(order: list[int], batch: int) -> dict[tuple[int, int], np.ndarray]:
        windows = [layout.windows[at] for at in order]
        tiles = predict_tiles(model, fitted, layout, request, windows=windows, batch=batch)
        return {(tile.window.row, tile.window.col): tile.results["std"] for tile in tiles}

    order = list(range(len(layout.windows)))
    plain = run(order, 1)
    for other in (run(order[::-1], 1), run(order, 4), run(order[3:] + order[:3], 2)):
        for at, values in plain.items():
            np.testing.assert_allclose(other[at], values, rtol=0, atol=1e-5)


def test_a_measured_halo_keeps_its_tolerance(model: Model) -> None:
    from dataclasses import replace

    from sciddiff.training.halo import halo_table

    measured = replace(model, record={"halo": halo_table(model)})
    image = scene(90, 90, holes=False)
    exact = model.predict(image, tolerance=None)["mean"].values
    fitted = fit(model.recipe, image)
    layout = lay_out(measured, fitted, tile=64, tolerance=1e-3)
    assert layout.halo < lay_out(model, fitted, tile=64, tolerance=None).halo
    narrow = measured.predict(image, tile=64, tolerance=1e-3)["mean"].values
    low = torch.from_numpy(image.values)[None]
    base = model.task.base(model.task.observe({"image": low})).numpy()
    assert np.abs(narrow - exact).max() < 5e-3 * np.std(exact - base)


def test_the_declared_radius_bounds_what_a_pixel_can_change(model: Model) -> None:
    unit, reach = 8, model.radius
    side = (2 * reach + 3 * unit) // unit * unit
    low = torch.zeros(1, 2, side // 4, side // 4)
    bumped = low.clone()
    bumped[..., 0, 0] = 1.0
    noise = torch.randn(1, 2, side // 4, side // 4, generator=torch.Generator().manual_seed(0))
    first, second = (
        next(restore(model, model.task.observe({"image": noise + bump}), origins=[(0, 0)])) for bump in (low, bumped)
    )
    changed = (first != second).any(1)[0].nonzero().amax().item()
    assert 0 < changed <= reach + 4


def test_the_lattice_covers_every_pixel_once() -> None:
    seen = np.zeros((70, 53), int)
    for window in lattice((70, 53), 16):
        seen[window.row : window.row + window.height, window.col : window.col + window.width] += 1
    assert (seen == 1).all()
