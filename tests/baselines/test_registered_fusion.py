"""Classical fusions of grids at any distance."""

import numpy as np
import pytest

from sciddiff.baselines import fusion
from sciddiff.baselines.registered_fusion import fuse, fuse_guides


@pytest.mark.parametrize("ratio", [2, 3, 4])
@pytest.mark.parametrize("offset", [(0.0, 0.0), (-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (1.0, -0.25)])
def test_a_ramp_stays_where_it_is(ratio: int, offset: tuple[float, float]) -> None:
    """Interpolated to the grid of PAN, a plane has its value at each pixel's centre, wherever the grids lie."""
    low = [ratio * (np.arange(24) + 0.5) - o for o in offset]
    ms = (3 * low[0][:, None] - 2 * low[1][None])[None]
    fine = np.arange(24 * ratio - 1) + 0.5
    expected = 3 * fine[:, None] - 2 * fine[None]
    result = fuse(fusion.exp, ms, np.zeros(expected.shape), ratio=ratio, offset=offset, gains=[0.3])
    inner = slice(8 * ratio, -8 * ratio)
    assert np.abs(result[0] - expected)[inner, inner].max() < 2e-2 * ratio


def test_each_band_takes_the_guide_that_it_resembles() -> None:
    rng = np.random.default_rng(0)
    guide = rng.normal(size=(2, 48, 48)).cumsum(1)
    ms = guide.reshape(2, 24, 2, 24, 2).mean((2, 4))[::-1]
    result = fuse_guides(fusion.mtf_glp_fs, ms, guide, ratio=2, offset=(0.0, 0.0), gains=[0.3, 0.3])
    for band, own in enumerate((1, 0)):
        alone = fuse(fusion.mtf_glp_fs, ms, guide[own], ratio=2, offset=(0.0, 0.0), gains=[0.3, 0.3])
        assert np.array_equal(result[band], alone[band])
