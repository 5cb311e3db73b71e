"""Classical deconvolution of images and stacks with a known point spread function, and interpolation along z.

Images are (h, w) or (d, h, w) with the point spread function of the same axes, odd and of unit sum. Edges are continued
by their last pixel over the spread function's radius, so that none of them rings or darkens.
"""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from sciddiff.errors import InputError

Array = NDArray[np.floating]
Double = NDArray[np.float64]


def wiener(image: Array, psf: Array, *, balance: float) -> Array:
    """Deconvolve by the least squares of fit and of curvature.

    Parameters
    ----------
    image
        (h, w) or (d, h, w).
    psf
        Of the same number of axes.
    balance
        Weight of the squared Laplacian against that of the fit; about the noise's variance over that of the Laplacian.

    Returns
    -------
    ndarray
        Of the image's shape and type; may go below zero.

    Raises
    ------
    InputError
        Where axes differ in number or a side of the point spread function is even.

    References
    ----------
    Hunt 1971; scikit-image's `wiener`.
    """
    from skimage.restoration import wiener as skimage_wiener

    padded, inner = _padded(image, psf)
    centre = padded.mean()
    result = skimage_wiener(padded - centre, psf.astype(np.float64), balance, clip=False)
    return (np.asarray(result)[inner] + centre).astype(image.dtype)


def richardson_lucy(image: Array, psf: Array, *, iterations: int, background: float = 0.0) -> Array:
    """Deconvolve by the most likely scene under Poisson noise, stopped early.

    Parameters
    ----------
    image
        (h, w) or (d, h, w), offset of the camera taken off or given as `background`.
    psf
        Of the same number of axes.
    iterations
        More sharpen, and amplify noise.
    background
        Taken off first and not returned, in units of the image.

    Returns
    -------
    ndarray
        Of the image's shape and type, not negative.

    Raises
    ------
    InputError
        Where axes differ in number, a side of the point spread function is even, or nothing exceeds the background.

    References
    ----------
    Richardson 1972, Lucy 1974; scikit-image's `richardson_lucy`.
    """
    from skimage.restoration import richardson_lucy as skimage_richardson_lucy

    padded, inner = _padded(image, psf)
    light = (padded - background).clip(min=0)
    if not light.max() > 0:
        raise InputError(f"no pixel exceeds the background of {background:.4g}")
    # The method knows no unit; its guard against division by zero does.
    scale = light.mean()
    done = skimage_richardson_lucy(
        light / scale, psf.astype(np.float64), num_iter=iterations, clip=False, filter_epsilon=1e-6
    )
    return (np.asarray(done)[inner].clip(min=0) * scale).astype(image.dtype)


def _padded(image: Array, psf: Array) -> tuple[Double, tuple[slice, ...]]:
    """The image with its edges continued, and where it lies therein."""
    if psf.ndim != image.ndim or any(side % 2 == 0 for side in psf.shape):
        raise InputError(f"point spread function of shape {psf.shape}; expected {image.ndim} axes with odd sides")
    reach = [2 * (side // 2) for side in psf.shape]  # twice: the estimate beyond the edge sees its own edge
    padded = np.pad(image.astype(np.float64), [(r, r) for r in reach], mode="edge")
    return padded, tuple(slice(r, r + side) for r, side in zip(reach, image.shape))


def linear_z(volume: Tensor, factor: int) -> Tensor:
    """Interpolate between planes linearly.

    Parameters
    ----------
    volume
        (b, c, d, h, w).
    factor
        Fine planes in the thickness of a coarse one: fine plane p lies at (p + 1/2) / factor - 1/2 coarse planes.

    Returns
    -------
    Tensor
        (b, c, d factor, h, w); beyond the first and last planes these go on.
    """
    b, c, d, h, w = volume.shape
    lines = volume.reshape(b * c, d, h * w).transpose(1, 2)
    fine = F.interpolate(lines, scale_factor=float(factor), mode="linear", align_corners=False)
    return fine.transpose(1, 2).reshape(b, c, d * factor, h, w)
