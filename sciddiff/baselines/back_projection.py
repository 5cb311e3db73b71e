"""Iterated back-projection (Irani and Peleg 1991)."""

from collections.abc import Callable

from torch import Tensor


def back_projection(
    low: Tensor, *, degrade: Callable[[Tensor], Tensor], upsample: Callable[[Tensor], Tensor], rounds: int = 30
) -> Tensor:
    """Interpolate, then add the interpolated misfit of the degraded result, `rounds` times.

    Parameters
    ----------
    low
        What was measured, (b, c, h, w).
    degrade
        The forward model, from the target grid to that of `low`.
    upsample
        The way back.
    rounds
        How often.

    Returns
    -------
    Tensor
        On the target grid.
    """
    high = upsample(low)
    for _ in range(rounds):
        high = high + upsample(low - degrade(high))
    return high
