"""New class masks from given ones: windows, turned and mirrored."""

import numpy as np
from numpy.typing import NDArray


def turned_window(
    source: NDArray[np.integer], rng: np.random.Generator, *, shape: tuple[int, int]
) -> NDArray[np.integer]:
    """A random window of a class mask, turned and mirrored.

    Parameters
    ----------
    source
        (h, w); mirrored on beyond its edges where it is too small.
    rng
        Source of the draws.
    shape
        Of the window.
    """
    short = [max(0, max(shape) - side) for side in source.shape]
    source = np.pad(source, [(0, more) for more in short], mode="symmetric") if any(short) else source
    row, col = (int(rng.integers(side - max(shape) + 1)) for side in source.shape)
    window = source[row : row + max(shape), col : col + max(shape)]
    window = np.rot90(window, int(rng.integers(4)))
    window = window[:, ::-1] if rng.random() < 0.5 else window
    return np.ascontiguousarray(window[: shape[0], : shape[1]])
