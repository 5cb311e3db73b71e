"""Law 4: what was measured survives; invalid pixels stay invalid and never leak into valid ones."""

import numpy as np
import torch

from sciddiff.model import Model, restore
from tests.laws.test_local import random_model, scene


def small_residual(model: Model) -> Model:
    """The random network's residual made as small against the signal as a trained one's."""
    model.residual_root.mul_(0.1)
    return model


def test_the_degraded_result_agrees_with_the_input() -> None:
    model = small_residual(random_model())
    low = torch.from_numpy(scene(48, 48, holes=False).values)[None]
    obs = model.task.observe({"image": low})
    base = model.task.base(obs)
    for result in restore(model, obs, origins=[(0, 0)], steps=3, samples=2):
        misfit = (model.task.degrade(result, obs) - low)[..., 8:-8, 8:-8].square().mean().sqrt()
        assert misfit < 0.2 * (model.task.degrade(result, obs) * 0 + (result - base).std()).mean()


def test_gain_and_offset_pass_through() -> None:
    model = random_model()
    image = scene(40, 40)
    plain = model.predict(image, steps=3)
    moved = model.predict(image.copy(data=3 * image.values + 0.1), steps=3)
    for name in ("mean", "sample"):
        np.testing.assert_allclose(moved[name].values, 3 * plain[name].values + 0.1, atol=2e-4, rtol=1e-4)


def test_each_band_may_have_its_own_gain() -> None:
    model = random_model()
    image = scene(40, 40)
    gains = np.array([5.0, 0.02], np.float32)[:, None, None]
    plain = model.predict(image)["mean"].values
    moved = model.predict(image.copy(data=gains * image.values))["mean"].values
    np.testing.assert_allclose(moved / gains, plain, atol=5e-4, rtol=1e-4)


def test_nodata_never_leaks() -> None:
    model = random_model()
    image = scene(40, 40)
    values = image.values.copy()
    valid = image.valid.values
    values[~valid] = 1e6
    poisoned = image.copy(data=values)
    first, second = (model.predict(each)["mean"].values for each in (image, poisoned))
    mask = valid.repeat(4, 1).repeat(4, 2)
    assert np.array_equal(first[mask], second[mask])
    assert np.isfinite(first[mask]).all()
    assert np.isnan(first[~mask]).all()
    assert np.isnan(second[~mask]).all()


def test_a_constant_scene_stays_constant() -> None:
    model = random_model()
    image = scene(40, 40, holes=False)
    flat = image.copy(data=np.full_like(image.values, 0.3))
    np.testing.assert_allclose(model.predict(flat)["mean"].values, 0.3, atol=1e-5)


def test_one_sample_differs_from_another_and_the_mean_needs_no_seed() -> None:
    model = random_model()
    image = scene(24, 24)
    assert np.array_equal(model.predict(image, seed=1)["mean"], model.predict(image, seed=2)["mean"], equal_nan=True)
    one, two = (model.predict(image, steps=3, seed=seed)["sample"].values for seed in (1, 2))
    assert np.nanmax(np.abs(one - two)) > 1e-3
