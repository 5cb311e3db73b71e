"""Noise as a pure function of its key: nothing is drawn, so a tile sees what the whole raster sees.

Every value depends on (seed, sample, step, channel, absolute pixel) alone. Philox4x32-10 turns the key and the pixel
into 32-bit words, Box-Muller turns two words into two normals. Logarithm, sine and cosine are spelled out in
operations that IEEE 754 rounds exactly, because library versions differ in the last bit between the vector body and
the tail of an array, and between devices.
"""

import math
from collections.abc import Iterator
from typing import TypeVar

import torch
from torch import Tensor

Word = TypeVar("Word", int, Tensor)

_MASK = 0xFFFFFFFF
_ROUNDS = 10
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_PLANE, _SLICE = 0, 1  # what a derived key is for

_ATANH = [1 / (2 * k + 1) for k in range(9)]
_SIN = [(-1) ** k / math.factorial(2 * k + 1) for k in range(8)]
_COS = [(-1) ** k / math.factorial(2 * k) for k in range(8)]


def keyed_normal(
    *,
    seed: int,
    sample: int,
    step: int,
    channels: int,
    origin: tuple[int, ...],
    shape: tuple[int, ...],
    device: torch.device | str = "cpu",
) -> Tensor:
    """Standard normal noise for a window of an unbounded raster or volume.

    The noise of a crop is the crop of the noise, bit for bit, on any device.

    Parameters
    ----------
    seed : int
        Any integer; taken modulo 2**64.
    sample, step : int
        Number of the sample and of the sampler's step; taken modulo 2**32.
    channels : int
        Number of channels; channel c has the same noise whatever this number.
    origin : tuple of int
        Absolute pixel of the window's first corner, (y, x) or (z, y, x); each a signed 64-bit number.
    shape : tuple of int
        Size of the window, (h, w) or (d, h, w).
    device : torch.device or str
        Where the noise is wanted.

    Returns
    -------
    Tensor
        float32, (channels, *shape).

    Raises
    ------
    ValueError
        If origin and shape are not both 2-D or both 3-D.

    References
    ----------
    Salmon et al. (2011), Parallel random numbers: as easy as 1, 2, 3 (Philox4x32-10).
    Box and Muller (1958), A note on the generation of random normal deviates.
    """
    if len(origin) != len(shape) or len(shape) not in (2, 3):
        raise ValueError(f"origin and shape must both have 2 or 3 numbers, got origin {origin} and shape {shape}")
    # Metal has no float64: there the noise is made on the processor.
    place = "cpu" if torch.device(device).type == "mps" else device
    out = torch.empty((channels, *shape), dtype=torch.float32, device=place)
    for first in range(0, channels, 4):
        key = _derive((seed & _MASK, seed >> 32 & _MASK), (sample, step, first // 4, _PLANE))
        block = out[first : first + 4]
        if len(shape) == 2:
            _fill_plane(block, origin, key)
            continue
        for k in range(shape[0]):
            z = origin[0] + k
            _fill_plane(block[:, k], origin[1:], _derive(key, (z, z >> 32, 0, _SLICE)))
    return out.to(device)


def philox4x32(counter: tuple[Word, Word, Word, Word], key: tuple[int, int]) -> tuple[Word, Word, Word, Word]:
    """Four random 32-bit words from a 128-bit counter and a 64-bit key, by ten rounds of Philox.

    Parameters
    ----------
    counter : tuple of four int or int64 Tensor
        Words in [0, 2**32); tensors broadcast against each other.
    key : tuple of two int
        Words in [0, 2**32).

    Returns
    -------
    tuple of four int or int64 Tensor
        Words in [0, 2**32).

    References
    ----------
    Salmon et al. (2011), Parallel random numbers: as easy as 1, 2, 3.
    """
    a, b, c, d = counter
    k, l = key
    for _ in range(_ROUNDS):
        # Products wrap modulo 2**64, whose bits are those of the unsigned product; b and d keep bits above the
        # 32nd, which the masks of the next round remove.
        left, right = a * _MULTIPLIERS[0], c * _MULTIPLIERS[1]
        a, b, c, d = ((right >> 32) ^ b ^ k) & _MASK, right, ((left >> 32) ^ d ^ l) & _MASK, left
        k, l = (k + _WEYL[0]) & _MASK, (l + _WEYL[1]) & _MASK
    return a, b & _MASK, c, d & _MASK


def _derive(key: tuple[int, int], words: tuple[int, int, int, int]) -> tuple[int, int]:
    a, b, c, d = (word & _MASK for word in words)
    return philox4x32((a, b, c, d), key)[:2]


def _fill_plane(out: Tensor, origin: tuple[int, ...], key: tuple[int, int]) -> None:
    """Fill (up to 4 channels, h, w) whose first pixel is `origin`."""
    y, x = (torch.arange(o, o + n, dtype=torch.int64, device=out.device) for o, n in zip(origin, out.shape[1:]))
    for rows, columns in _chunks(out):
        high, wide = y[rows, None], x[columns]
        counter = (high & _MASK, (high >> 32) & _MASK, wide & _MASK, (wide >> 32) & _MASK)
        words = philox4x32(counter, key)
        for pair in range(0, len(out), 2):
            normals = _box_muller(words[pair], words[pair + 1])
            for channel, normal in zip(out[pair : pair + 2], normals):
                channel[rows, columns] = normal


def _chunks(out: Tensor) -> Iterator[tuple[slice, slice]]:
    """Windows small enough for a processor's cache, or for an accelerator's memory."""
    size = 2**14 if out.device.type == "cpu" else 2**22
    height, width = out.shape[1:]
    columns = max(1, min(width, size))
    rows = max(1, size // columns)
    for top in range(0, height, rows):
        for left in range(0, width, columns):
            yield slice(top, top + rows), slice(left, left + columns)


def _box_muller(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Two independent standard normals (float64) from two uniform 32-bit words."""
    radius = _log_uniform(first).mul_(-2).sqrt_()
    # The top two bits choose a quarter of the circle, the others an angle in its (-pi/4, pi/4).
    angle = (second & 0x3FFFFFFF).double().add_(0.5).mul_(math.pi / 2**31).sub_(math.pi / 4)
    square = angle * angle
    sine, cosine = _horner(_SIN, square).mul_(angle), _horner(_COS, square)
    turned = (second & 0x40000000) != 0
    radius = torch.where(second >= 0x80000000, -radius, radius)
    return torch.where(turned, -sine, cosine).mul_(radius), torch.where(turned, cosine, sine).mul_(radius)


def _log_uniform(word: Tensor) -> Tensor:
    """log((word + 1/2) / 2**32), by log(m 2**e) = e log 2 + 2 atanh((m - 1) / (m + 1))."""
    mantissa, exponent = torch.frexp(word.double().add_(0.5))
    small = mantissa < math.sqrt(0.5)
    mantissa = torch.where(small, mantissa * 2, mantissa)
    power = exponent.double().sub_(32.0).sub_(small.double())
    ratio = (mantissa - 1).div_(mantissa + 1)
    return _horner(_ATANH, ratio * ratio).mul_(ratio).mul_(2).add_(power.mul_(math.log(2)))


def _horner(coefficients: list[float], x: Tensor) -> Tensor:
    total = torch.full_like(x, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        total.mul_(x).add_(coefficient)
    return total
