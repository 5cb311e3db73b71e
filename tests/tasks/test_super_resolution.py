import numpy as np
import pytest
import torch

from sciddiff.errors import OptionError
from sciddiff.physics import sensor
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
    task = build_task(parse_recipe(RECIPE, overrides=["task.target_mtf=0.4"]))
    assert isinstance(task, SuperResolution)
    return task


def test_a_told_sharpness_is_that_of_the_result(sharp_task: SuperResolution) -> None:
    """Told twice and half the model's own gain: detail changes by the ratio of the MTFs, what was measured stays."""
    clean = torch.randn(1, 2, 1, 256, generator=torch.Generator().manual_seed(0)).double().expand(1, 2, 64, 256)
    measured = sharp_task.degrade(clean, sharp_task.observe({"image": torch.zeros(1, 2, 16, 64)}))
    told = sharp_task.observe({"image": measured}, {"target_mtf": (0.8, 0.2)})
    changed = sharp_task.project(clean, told)
    spectra = [torch.fft.rfft(x * torch.hann_window(256)).abs().square().sum(2)[0] for x in (changed, clean)]
    fine = slice(80, 112)
    power = 10 * torch.log10(spectra[0][:, fine].sum(1) / spectra[1][:, fine].sum(1)).float()
    f = torch.arange(80, 112) / 256
    expected = 10 * torch.log10((torch.tensor([[2.0], [0.5]]) ** (8 * f**2)).mean(1))
    torch.testing.assert_close(power, expected, atol=0.3, rtol=0)
    before, after = (
        (sharp_task.degrade(x, told) - measured).square().mean() for x in (torch.zeros_like(clean), changed)
    )
    assert after < 1e-3 * before


def test_the_models_own_sharpness_changes_nothing(sharp_task: SuperResolution, task: SuperResolution) -> None:
    image = power_law_scene(64)[..., ::4, ::4].double()
    x = torch.randn(1, 2, 64, 64, generator=torch.Generator().manual_seed(0)).double()
    told, untold = (sharp_task.observe({"image": image}, given) for given in ({"target_mtf": (0.4,)}, None))
    torch.testing.assert_close(sharp_task.project(x, told), task.project(x, task.observe({"image": image})))
    assert torch.equal(sharp_task.project(x, untold), task.project(x, task.observe({"image": image})))
    assert torch.equal(told.numbers, untold.numbers)
    assert sharp_task.radius == task.radius + sensor.GAIN_RADIUS


@pytest.mark.parametrize("given", [{"target_mtf": (1.2,)}, {"target_mtf": (0.3, 0.3, 0.3)}])
def test_an_impossible_sharpness_is_refused(sharp_task: SuperResolution, given: dict[str, tuple[float, ...]]) -> None:
    with pytest.raises(OptionError, match=r"target_mtf is .*; needs 1 or 2 numbers from 0\.1 to 0\.95"):
        sharp_task.observe({"image": torch.zeros(1, 2, 16, 16)}, given)


def test_a_task_that_does_not_know_its_sharpness_says_so(task: SuperResolution) -> None:
    with pytest.raises(OptionError, match="knows no 'target_mtf' of an instrument; it knows mtf, noise"):
        task.observe({"image": torch.zeros(1, 2, 16, 16)}, {"target_mtf": (0.3,)})


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
