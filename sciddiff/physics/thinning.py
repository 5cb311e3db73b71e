"""One noisy image in two whose noise is independent or uncorrelated, given the scene: pairs to train and to measure by.

Counts of electrons are thinned by coin tosses, exactly. Any other noise of the law Var[y] = a E[y] + b is split by
added noise: y + alpha sigma n and y - sigma n / alpha, with sigma^2 = a y + b and n ~ N(0, 1).
"""

import torch
from torch import Tensor

from sciddiff.errors import OptionError
from sciddiff.physics.camera import Number


def thin(
    counts: Tensor, *, gain: Number, offset: Number, generator: torch.Generator, share: float = 0.5
) -> tuple[Tensor, Tensor]:
    """Send each electron to the first image with probability `share`, to the second otherwise.

    Parameters
    ----------
    counts
        In ADU, any shape; read noise much below the shot noise, for what is below the offset counts as no electron.
    gain
        ADU an electron.
    offset
        ADU.
    generator
        Of all tosses.
    share
        Between 0 and 1, both excluded.

    Returns
    -------
    first, second
        Electrons. Of Poisson counts of mean m they are independent Poisson counts of means m share and m (1 - share).

    Raises
    ------
    OptionError
        For a share that leaves one image empty.
    """
    if not 0 < share < 1:
        raise OptionError(f"share is {share}; expected a number between 0 and 1")
    electrons = ((counts - offset) / gain).round().clamp(min=0)
    first = torch.binomial(electrons, torch.full_like(electrons, share), generator=generator)
    return first, electrons - first


def split(
    image: Tensor, *, a: Number, b: Number, generator: torch.Generator, alpha: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Recorrupt an image twice with opposite noise, so that the two halves are uncorrelated given the scene.

    Parameters
    ----------
    image
        (b, c, [d,] h, w).
    a, b
        The noise law, as `anscombe.stabilise` takes it.
    generator
        Of the added noise.
    alpha
        How much more noise the first half gets: variances are (1 + alpha^2) and (1 + 1 / alpha^2) times the image's.

    Returns
    -------
    first, second
        Both of the image's expectation. For Gaussian noise (a = 0) they are independent; else uncorrelated, for the
        covariance of the halves, Var[y] - E[a y + b], vanishes by the law itself, wherever a y + b stays positive.

    Raises
    ------
    OptionError
        For an alpha that is not positive.

    References
    ----------
    Pang, Zheng, Quan, Ji 2021 (recorrupted-to-recorrupted, CVPR); Oliveira, Lei, Tibshirani 2024 (coupled bootstrap);
    Monroy, Bacca, Tachella 2025 (generalised to other noise).
    """
    if not alpha > 0:
        raise OptionError(f"alpha is {alpha}; expected a positive number")
    deviation = torch.sqrt((a * image + b).clamp(min=0))
    noise = torch.randn(image.shape, generator=generator, device=image.device, dtype=image.dtype) * deviation
    return image + alpha * noise, image - noise / alpha
