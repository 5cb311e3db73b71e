import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sciddiff.baselines import deconvolution
from sciddiff.errors import InputError
from sciddiff.physics.blur import blur
from sciddiff.physics.gaussian_psf import gaussian_psf

pytest.importorskip("skimage")
Double = NDArray[np.float64]


def sample(axes: int) -> tuple[Double, Double, Double]:
    """Spots on a floor, their blurred and noisy image, and the spread function."""
    rng = np.random.default_rng(0)
    scene = np.full((8, 28, 24)[-axes:], 20.0)
    spots = tuple(rng.integers(0, side, 6) for side in scene.shape)
    scene[spots] += 3000
    psf = gaussian_psf((1.0, 1.5, 1.5)[-axes:])
    light = blur(torch.from_numpy(scene)[None, None], psf)[0, 0].numpy()
    return scene, rng.poisson(light).astype(np.float64), psf.numpy()


@pytest.mark.parametrize("axes", [2, 3])
def test_richardson_lucy_sharpens_and_keeps_light(axes: int) -> None:
    scene, image, psf = sample(axes)
    done = deconvolution.richardson_lucy(image, psf, iterations=30)
    assert done.shape == image.shape
    assert done.min() >= 0
    assert ((done - scene) ** 2).mean() < 0.8 * ((image - scene) ** 2).mean()
    assert done.mean() == pytest.approx(image.mean(), rel=0.05)
    again = blur(torch.from_numpy(done)[None, None], torch.from_numpy(psf))[0, 0].numpy()
    assert ((again - image) ** 2).mean() < 3 * image.mean()  # consistent with the image within its noise


@pytest.mark.parametrize("axes", [2, 3])
def test_wiener_sharpens(axes: int) -> None:
    scene, image, psf = sample(axes)
    done = deconvolution.wiener(image, psf, balance=1e-4)
    assert ((done - scene) ** 2).mean() < 0.93 * ((image - scene) ** 2).mean()
    assert done.mean() == pytest.approx(image.mean(), rel=0.02)


def test_flat_images_stay_flat_up_to_the_edge() -> None:
    psf = gaussian_psf((2.0, 2.0)).numpy()
    flat = np.full((30, 33), 7.0, np.float32)
    for done in (
        deconvolution.wiener(flat, psf, balance=0.01),
        deconvolution.richardson_lucy(flat, psf, iterations=10),
    ):
        assert done.dtype == np.float32
        np.testing.assert_allclose(done, 7, rtol=0.02)


def test_results_do_not_depend_on_the_unit() -> None:
    _, image, psf = sample(2)
    once = deconvolution.richardson_lucy(image, psf, iterations=10)
    np.testing.assert_allclose(deconvolution.richardson_lucy(image * 1e-4, psf, iterations=10), once * 1e-4, rtol=1e-6)


def test_background_is_taken_off_first() -> None:
    _, image, psf = sample(2)
    plain = deconvolution.richardson_lucy(image, psf, iterations=10)
    np.testing.assert_allclose(
        deconvolution.richardson_lucy(image + 100, psf, iterations=10, background=100), plain, rtol=1e-9
    )
    with pytest.raises(InputError, match=r"no pixel exceeds the background of 1e\+06"):
        deconvolution.richardson_lucy(image, psf, iterations=10, background=1e6)


def test_wrong_spread_functions_are_refused() -> None:
    _, image, psf = sample(2)
    with pytest.raises(InputError, match=r"expected 2 axes with odd sides"):
        deconvolution.wiener(image, psf[:-1], balance=1)
    with pytest.raises(InputError, match=r"expected 2 axes"):
        deconvolution.richardson_lucy(image, psf[None], iterations=1)


@pytest.mark.parametrize("factor", [1, 2, 3, 5])
def test_planes_are_interpolated_at_their_places(factor: int) -> None:
    z = torch.arange(6, dtype=torch.float64)
    volume = z[:, None, None].expand(2, 3, 6, 4, 5) * torch.rand(2, 3, 1, 4, 5, dtype=torch.float64)
    fine = deconvolution.linear_z(volume, factor)
    assert fine.shape == (2, 3, 6 * factor, 4, 5)
    place = ((torch.arange(6 * factor, dtype=torch.float64) + 0.5) / factor - 0.5).clamp(0, 5)
    torch.testing.assert_close(fine, place[:, None, None] * volume[:, :, 1:2])
