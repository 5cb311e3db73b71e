import math

import pytest
import torch
from scipy import ndimage

from sciddiff.errors import InputError
from sciddiff.physics import blur, modality, out_of_focus
from sciddiff.physics.gaussian_psf import gaussian_psf
from sciddiff.physics.optics import Optics

AIR = Optics(na=0.8, wavelength=0.525, index=1.0, pixel_size=0.2, z_step=0.5)


def noise(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("shape", [(2, 3, 20, 24), (2, 1, 9, 20, 24)])
def test_blur_is_a_convolution_with_edges_continued(shape: tuple[int, ...]) -> None:
    image = noise(*shape)
    psf = noise(*(3, 5, 7)[-(len(shape) - 2) :])
    expected = ndimage.convolve(image[1, 0].numpy(), psf.numpy(), mode="nearest")
    torch.testing.assert_close(blur.blur(image, psf)[1, 0], torch.from_numpy(expected))
    assert blur.radius(psf) == tuple(side // 2 for side in psf.shape)


def test_blur_looks_no_further_than_its_radius() -> None:
    psf = gaussian_psf((0.5, 1.0, 1.0))
    image = noise(1, 1, 15, 31, 31)
    changed = image.clone()
    changed[0, 0, 7, 15, 15] += 1
    touched = (blur.blur(changed, psf) != blur.blur(image, psf))[0, 0].nonzero() - torch.tensor([7, 15, 15])
    assert (touched.abs().amax(0) <= torch.tensor(blur.radius(psf))).all()


def test_separable_gaussians_equal_the_whole() -> None:
    image = noise(1, 2, 9, 20, 24)
    whole = blur.blur(image, gaussian_psf((0.6, 1.1, 1.7)))
    torch.testing.assert_close(blur.gaussian_blur(image, (0.6, 1.1, 1.7)), whole)
    torch.testing.assert_close(blur.gaussian_blur(image, (0, 0, 0)), image)


def test_wrong_axes_are_refused() -> None:
    with pytest.raises(InputError, match=r"expected 2 axes with odd sides"):
        blur.blur(noise(1, 1, 8, 8), noise(3, 4))
    with pytest.raises(InputError, match=r"stack of 4 planes"):
        out_of_focus.widefield_plane(noise(1, 1, 4, 8, 8), noise(3, 3, 3))


def test_a_plane_sees_the_light_of_all_others() -> None:
    psf = modality.psf(AIR, (5, 9, 9)) * torch.linspace(0.5, 1.5, 5)[:, None, None]  # not alike above and below
    volume = noise(2, 2, 5, 16, 16)
    plane = out_of_focus.widefield_plane(volume, psf, background=3.0)
    torch.testing.assert_close(plane, out_of_focus.widefield(volume, psf, background=3.0)[:, :, 2])


def test_haze_conserves_light_and_dims_contrast() -> None:
    thin = torch.zeros(1, 1, 11, 64, 64, dtype=torch.float64)
    thin[0, 0, 8] = noise(64, 64)  # structure 1.5 um above focus only
    plane = out_of_focus.widefield_plane(thin, modality.psf(AIR, (11, 33, 33)))
    sharp = out_of_focus.widefield_plane(thin.flip(2).roll(3, 2), modality.psf(AIR, (11, 33, 33)))
    assert plane.sum() > 0
    assert plane[..., 16:48, 16:48].std() / plane.mean() < 0.3 * sharp[..., 16:48, 16:48].std() / sharp.mean()


def test_width_out_of_focus_grows_with_the_cone() -> None:
    assert out_of_focus.defocused_width(AIR, 0.0) == pytest.approx(0.1447, abs=1e-4)
    assert out_of_focus.defocused_width(AIR, -30.0) == pytest.approx(20.0, rel=1e-3)  # 30 tan(asin 0.8) / 2


def test_haze_of_a_picture_has_its_share_of_light() -> None:
    image = noise(2, 1, 64, 64)
    haze = out_of_focus.haze_of_picture(image, optics=AIR, generator=torch.Generator().manual_seed(1), share=0.7)
    assert haze.shape == image.shape
    assert haze.mean().item() == pytest.approx(0.7 * image.mean().item(), rel=0.05)
    assert haze.min() >= 0
    assert haze.std() < 0.1 * image.std()
    again = out_of_focus.haze_of_picture(image, optics=AIR, generator=torch.Generator().manual_seed(1), share=0.7)
    assert torch.equal(haze, again)
    assert out_of_focus.haze_of_picture(image[..., :40], optics=AIR, generator=torch.Generator()).shape[-1] == 40


@pytest.mark.parametrize("width", [2.0, 9.0, 20.0])
def test_background_is_log_normal_and_smooth(width: float) -> None:
    field = out_of_focus.smooth_background((600, 1, 64, 70), torch.Generator().manual_seed(0), level=5, width=width)
    assert field.min() > 0
    assert field.mean().item() == pytest.approx(5, rel=0.03)
    log = field.log() - field.log().mean()
    assert log.std().item() == pytest.approx(0.3, rel=0.08)
    lag = int(width)
    correlation = (log[..., :-lag] * log[..., lag:]).mean() / log.var()
    assert correlation.item() == pytest.approx(math.exp(-0.25), abs=0.03)  # of white noise smoothed by a Gaussian
    stack = out_of_focus.smooth_background((1, 1, 3, 16, 16), torch.Generator().manual_seed(0), level=5, width=width)
    assert stack.shape == (1, 1, 3, 16, 16)
    assert torch.equal(stack[:, :, 0], stack[:, :, 2])
