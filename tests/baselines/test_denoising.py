from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from sciddiff.baselines import denoising
from sciddiff.errors import InputError, OptionError

pytest.importorskip("skimage")
LAW = 0.46, (0.46 * 1.6) ** 2 - 46  # gain 0.46, offset 100 ADU, read noise 1.6 electrons
Double = NDArray[np.float64]


def pair(*, corner: int = 100, peak: float = 30.0, seed: int = 0) -> tuple[Double, Double]:
    """Noisy counts and their expectation."""
    from skimage.data import camera

    scene = ndimage.gaussian_filter(camera()[corner : corner + 64, 150:214].astype(np.float64), 1)
    light = peak * (scene - scene.min()) / np.ptp(scene)
    rng = np.random.default_rng(seed)
    return 0.46 * (rng.poisson(light) + rng.normal(0, 1.6, light.shape)) + 100, 0.46 * light + 100


def error(image: Double, clean: Double) -> float:
    return float(((image - clean) ** 2).mean())


@pytest.mark.parametrize("method", denoising.DENOISERS)
def test_each_method_beats_the_noise_when_tuned_elsewhere(method: str) -> None:
    best = denoising.tuned(method, [pair()], [LAW])
    noisy, clean = pair(corner=180, seed=1)
    assert error(best(noisy, LAW), clean) < 0.2 * error(noisy, clean)


def test_tuning_takes_the_best_of_all_trials() -> None:
    pairs = [pair(), pair(corner=200, seed=2)]
    best = denoising.tuned("gaussian", pairs, [LAW, LAW])
    psnr = {}
    for way, strength in product((True, False), denoising.DENOISERS["gaussian"][1]):
        done = [denoising.denoise(y, "gaussian", strength=strength, law=LAW, stabilised=way) for y, _ in pairs]
        peaks = [np.ptp(clean) ** 2 / error(x, clean) for x, (_, clean) in zip(done, pairs)]
        psnr[way, strength] = np.mean(10 * np.log10(peaks))
    assert best.psnr == pytest.approx(max(psnr.values()))
    assert psnr[best.stabilised, best.strength] == pytest.approx(best.psnr)


@pytest.mark.parametrize("method", sorted(set(denoising.DENOISERS) - {"median"}))  # no mean
def test_stabilised_results_keep_the_mean_of_dim_light(method: str) -> None:
    rng = np.random.default_rng(0)
    flat = 0.46 * (rng.poisson(5.0, (64, 64)) + rng.normal(0, 1.6, (64, 64))) + 100
    strength = denoising.DENOISERS[method][1][-1]
    done = denoising.denoise(flat, method, strength=strength, law=LAW)
    assert done.mean() == pytest.approx(102.3, abs=0.06)  # the algebraic inverse would give 102.18
    assert done.std() < 0.5 * flat.std()


@pytest.mark.parametrize("method", denoising.DENOISERS)
@pytest.mark.parametrize("stabilised", [True, False])
def test_stacks_and_types(method: str, stabilised: bool) -> None:
    noisy, _ = pair()
    stack = np.stack([noisy[:40, :48]] * 3)
    done = denoising.denoise(stack.astype(np.float32), method, strength=1, law=LAW, stabilised=stabilised)
    assert done.shape == (3, 40, 48)
    assert done.dtype == np.float32
    whole = denoising.denoise(np.rint(stack[0]).astype(np.uint16), method, strength=1, law=LAW, stabilised=stabilised)
    assert whole.dtype == np.float32
    assert abs(whole.mean() - stack[0].mean()) < 0.3


@pytest.mark.parametrize("method", ["non-local means", "total variation", "cosine"])
def test_strengths_are_in_units_of_the_noise(method: str) -> None:
    noisy, _ = pair()
    function, _ = denoising.DENOISERS[method]
    once = function(noisy, 1.5, 2.0)
    np.testing.assert_allclose(function(10 * noisy, 1.5, 20.0), 10 * once, rtol=1e-3, atol=0.05)


def test_nothing_to_threshold_is_handed_through() -> None:
    noisy, _ = pair()
    np.testing.assert_allclose(denoising.cosine(noisy[:37, :53], 0.0, 1.0), noisy[:37, :53])


def test_what_cannot_be_tuned_is_refused() -> None:
    noisy, clean = pair()
    with pytest.raises(OptionError, match=r"unknown method 'bm3d'; known are median"):
        denoising.tuned("bm3d", [(noisy, clean)], [LAW])
    with pytest.raises(InputError, match=r"1 pairs and 0 noise laws"):
        denoising.tuned("median", [(noisy, clean)], [])
    with pytest.raises(InputError, match=r"constant"):
        denoising.tuned("median", [(noisy, np.ones_like(clean))], [LAW])
    with pytest.raises(InputError, match=r"variance -"):
        denoising.denoise(noisy, "median", strength=1, law=(0.46, -200.0))
