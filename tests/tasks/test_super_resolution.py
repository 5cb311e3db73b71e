import numpy as np
import pytest
import torch

from sciddiff.errors import OptionError
from sciddiff.recipe import parse_recipe
from sciddiff.tasks import build_task
from sciddiff.tasks.local import contrast_free
from sciddiff.tasks.super_resolution import SuperResolution

RECIPE = """
version: 1
name: sr
task: {kind: super_resolution, ratio: 4, sensor: sentinel2}
bands: [B02, B08]
"""


@pytest.fixture(scope="module")
def task() -> SuperResolution:
    task = build_task(parse_recipe(RECIPE))
    assert isinstance(task, SuperResolution)
    return task


def power_law_scene(size: int = 192, beta: float = 2.6) -> torch.Tensor:
    rng = np.random.default_rng(0)
    f = np.fft.fftfreq(size)
    power = (f[:, None] ** 2 + f[None] ** 2 + 1e-5) ** (-beta / 4)
    image = np.fft.ifft2(np.fft.fft2(rng.normal(size=(2, size, size))) * power).real
    return torch.from_numpy(image / image.std())[None].float()


def mse(estimate: torch.Tensor, clean: torch.Tensor) -> float:
    return float((estimate - clean)[..., 32:-32, 32:-32].square().mean())


def test_the_base_beats_every_linear_baseline_on_its_own_spectrum(task: SuperResolution) -> None:
    clean = power_law_scene()
    obs = task.simulate(clean, None)
    errors = {name: mse(baseline(obs), clean) for name, baseline in task.baselines().items()}
    assert errors["linear"] < min(errors["bicubic"], errors["lanczos"])
    assert errors["linear"] < 1.005 * errors["back_projection"]
    assert errors["back_projection"] < errors["bicubic"]


def test_projection_brings_any_estimate_to_agreement(task: SuperResolution) -> None:
    clean = power_law_scene()
    obs = task.simulate(clean, None)
    estimate = clean.flip(2)
    before, after = (
        (task.degrade(x, obs) - obs.inputs["image"]).square().mean() for x in (estimate, task.project(estimate, obs))
    )
    assert after < 1e-3 * before
    assert mse(task.project(clean, obs), clean) < 1e-6


def test_the_base_follows_a_measured_instrument(task: SuperResolution) -> None:
    clean = power_law_scene()
    sharp = task.observe({"image": torch.zeros(1, 2, 48, 48)}, {"mtf": (0.38,)})
    low = task.degrade(clean, sharp)
    told = task.base(task.observe({"image": low}, {"mtf": (0.38,)}))
    untold = task.base(task.observe({"image": low}))
    assert mse(told, clean) < mse(untold, clean)


def test_simulations_are_keyed_by_their_generator(task: SuperResolution) -> None:
    clean = power_law_scene(64).expand(4, -1, -1, -1)
    first, again, other = (
        task.simulate(clean, torch.Generator().manual_seed(seed), instrument_dropout=0.5) for seed in (1, 1, 2)
    )
    assert torch.equal(first.inputs["image"], again.inputs["image"])
    assert torch.equal(first.numbers, again.numbers)
    assert not torch.equal(first.inputs["image"], other.inputs["image"])


def test_unknown_instruments_are_not_told(task: SuperResolution) -> None:
    clean = power_law_scene(64).expand(8, -1, -1, -1)
    hidden = task.simulate(clean, torch.Generator().manual_seed(0), instrument_dropout=1.0)
    assert not hidden.numbers.any()
    assert torch.equal(hidden.instrument["gain"], task.nominal.expand(8, 2))
    told = task.simulate(clean, torch.Generator().manual_seed(0), instrument_dropout=0.0)
    assert told.numbers[:, 2].eq(1).all()
    low, high = task.settings.mtf_range
    assert ((told.instrument["gain"] >= low) & (told.instrument["gain"] <= high)).all()


@pytest.fixture(scope="module")
def sharp_task() -> SuperResolution:
    task = build_task(parse_recipe(RECIPE, overrides=["task.target_mtf=[0.15, 0.95]"]))
    assert isinstance(task, SuperResolution)
    return task


def test_a_task_without_the_targets_sharpness_is_as_it_was(task: SuperResolution, sharp_task: SuperResolution) -> None:
    clean = power_law_scene(64).expand(6, -1, -1, -1)
    assert (task.numbers, sharp_task.numbers) == (5, 8)
    plain, more = (
        each.simulate(clean, torch.Generator().manual_seed(3), instrument_dropout=0.3) for each in (task, sharp_task)
    )
    assert torch.equal(plain.inputs["image"], more.inputs["image"])
    assert torch.equal(plain.numbers, more.numbers[:, :5])
    assert not more.numbers[:, 5:].any()
    with pytest.raises(OptionError, match="target_mtf"):
        task.observe({"image": clean[..., ::4, ::4]}, {"target_mtf": (0.3,)})


def test_the_targets_sharpness_is_told_in_half_of_the_windows(sharp_task: SuperResolution) -> None:
    clean = power_law_scene(64).expand(64, -1, -1, -1)
    gains = torch.tensor([0.3, 0.6])[None, :, None, None].expand(64, 2, 64, 64)
    scenes = torch.cat([clean, gains], 1)
    obs = sharp_task.simulate(scenes, torch.Generator().manual_seed(0))
    shown = obs.numbers[:, 7] > 0
    assert 16 < shown.sum() < 48
    expected = sharp_task.observe({"image": obs.inputs["image"]}, {"target_mtf": (0.3, 0.6)}).numbers[:, 5:]
    torch.testing.assert_close(obs.numbers[shown, 5:], expected[shown])
    assert not obs.numbers[~shown, 5:].any()
    assert torch.equal(sharp_task.truth(scenes, obs), clean)


def test_the_targets_sharpness_changes_what_the_network_is_told_and_nothing_else(sharp_task: SuperResolution) -> None:
    image = power_law_scene(64)[..., ::4, ::4]
    told, untold = (sharp_task.observe({"image": image}, given) for given in ({"target_mtf": (0.25,)}, None))
    assert torch.equal(sharp_task.base(told), sharp_task.base(untold))
    assert told.numbers[0, 5] == told.numbers[0, 6] != 0
    assert torch.equal(told.numbers[:, :5], untold.numbers[:, :5])
    with pytest.raises(OptionError, match=r"needs 1 or 2 numbers from 0\.15 to 0\.95"):
        sharp_task.observe({"image": image}, {"target_mtf": (1.2,)})


def test_maps_are_free_of_contrast() -> None:
    image = power_law_scene(64).double()
    plain, moved = contrast_free(image), contrast_free(7 * image - 3)
    torch.testing.assert_close(moved.maps, plain.maps, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(moved.scale, 7 * plain.scale)


def test_digital_numbers_keep_their_contrast() -> None:
    """A weak signal on a large offset, as raw digital numbers have it: squares in float32 would lose it."""
    image = power_law_scene(64)
    raw = 20_000 + image
    torch.testing.assert_close(contrast_free(raw).scale, contrast_free(image).scale, atol=0.02, rtol=0.02)


def test_a_missing_band_is_neutral(task: SuperResolution) -> None:
    image = power_law_scene(64)[..., ::4, ::4].clone()
    image[:, 1] = 0
    obs = task.observe({"image": image})
    base = task.base(obs)
    condition = task.condition(obs, base)
    assert not base[:, 1].any()
    assert not condition.maps[:, 1].any()
    assert not condition.maps[:, 3].any()
