"""Destriping: stripes go, what is wide stays, and the laws hold."""

import numpy as np
import pytest
import torch

from sciddiff import io
from sciddiff.errors import OptionError
from sciddiff.model import build
from sciddiff.physics.fractal import fractal_noise
from sciddiff.recipe import parse_recipe
from sciddiff.tasks import build_task
from sciddiff.tasks.destripe import ACROSS, Destripe
from tests.tasks.test_fill_gaps import image_of

RECIPE = """
version: 1
name: stripes
task: {kind: destripe, lines: %s}
bands: [red, nir]
optional_bands: [nir]
network: {widths: [8], encoder_blocks: [0], denoiser_blocks: [1], stem: 2, embedding: 8}
training: {patch: 32}
"""


def task_of(lines: str) -> Destripe:
    task = build_task(parse_recipe(RECIPE % lines))
    assert isinstance(task, Destripe)
    return task


def scene(side: int = 192) -> torch.Tensor:
    return fractal_noise((2, side, side), generator=torch.Generator().manual_seed(0), beta=2.6)[None]


@pytest.mark.parametrize("lines", ["columns", "rows"])
def test_the_base_takes_stripes_off_better_than_classical_ways(lines: str) -> None:
    task, clean = task_of(lines), scene()
    obs = task.simulate(clean, None)

    def error(estimate: torch.Tensor) -> float:
        return float((estimate - clean).square().mean())

    errors = {name: error(method(obs)) for name, method in task.baselines().items()}
    assert errors["linear"] < 0.65 * error(obs.inputs["image"])
    assert errors["linear"] < min(errors["moment_matching"], errors["wavelet_fft"])


def test_offsets_on_a_plain_come_off_but_for_their_own_mean() -> None:
    task = task_of("columns")
    # alternating, so that no step between lines is cut off as an edge
    offsets = torch.tensor([-1.0, 1.0]).repeat(100)
    obs = task.observe({"image": (1000 + offsets).expand(1, 2, 160, 200).clone()})
    inner = slice(ACROSS, -ACROSS)
    left = task.base(obs)[0, :, 80, inner] - 1000
    assert left.abs().max() < 1.01 / ACROSS


def test_what_is_wide_stays_as_measured() -> None:
    task, clean = task_of("columns"), scene()
    obs = task.simulate(clean, None)
    wide = torch.linspace(-3, 3, 192).expand_as(clean)
    inner = (..., slice(ACROSS, -ACROSS))
    kept = task.project(obs.inputs["image"] + wide, obs)
    torch.testing.assert_close(kept[inner], obs.inputs["image"][inner], atol=1e-4, rtol=0)


def test_tiles_equal_the_whole_and_invalid_pixels_stay() -> None:
    model = build(parse_recipe(RECIPE % "columns"))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    valid = np.ones((2, 71, 58), bool)
    valid[:, 20:30, 11:25] = False
    image = image_of(scene(96)[0, :, :71, :58].numpy(), valid)
    assert io.grid_of(image).shape == (71, 58)
    whole, tiled = (model.predict(image, tile=tile, tolerance=None)["mean"].values for tile in (10_000, 32))
    np.testing.assert_allclose(tiled, whole, rtol=0, atol=1e-5)
    assert np.array_equal(np.isfinite(whole), valid)
    with pytest.raises(OptionError, match="knows no mtf of an instrument"):
        model.predict(image, instrument={"mtf": (0.3,)})


def test_simulations_are_keyed_and_a_missing_band_stays_out() -> None:
    task, clean = task_of("columns"), scene(64).repeat(3, 1, 1, 1)
    clean[:, 1] = 0
    first, again, other = (task.simulate(clean, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first.inputs["image"], again.inputs["image"])
    assert not torch.equal(first.inputs["image"], other.inputs["image"])
    assert not task.base(first)[:, 1].any()
    assert task.condition(first, task.base(first)).maps.isfinite().all()
