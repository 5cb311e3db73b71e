"""What surrounds the network costs little and changes no bit: plain formulas of the same results."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from sciddiff.model import tiles
from sciddiff.tasks.local import _window_sum, box_mean


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 20).map(lambda half: 2 * half + 1), st.integers(0, 99))
def test_a_box_mean_is_that_of_rows_and_then_of_columns(height: int, width: int, side: int, seed: int) -> None:
    image = 100 * torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(seed))
    pad = side // 2
    rows = _window_sum(F.pad(image, (0, 0, pad, pad), mode="replicate"), side, dim=2)
    expected = _window_sum(F.pad(rows, (pad, pad, 0, 0), mode="replicate"), side, dim=3) / side**2
    assert torch.equal(box_mean(image, side), expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_result_is_cut_where_it_is_valid(dtype: str, share: float) -> None:
    rng = np.random.default_rng(0)
    whole = rng.normal(size=(3, 10, 12)).astype("float32")
    computed, mask = whole[:, 1:-1, 1:-1], rng.random((2, 8, 10)) < share
    cut = tiles._cut({"mean": computed}, "mean", mask, (2, 0), dtype=np.dtype(dtype))
    expected = np.where(mask, computed[[2, 0]], np.nan).astype(dtype)
    assert cut.dtype == dtype
    assert cut.tobytes() == expected.tobytes()
    assert np.isfinite(whole).all()


@pytest.mark.parametrize("count", range(5))
def test_samples_are_summed_up_one_by_one(count: int) -> None:
    stream = list(torch.randn(count + 1, 2, 3, 8, 8, generator=torch.Generator().manual_seed(0)))
    stream[-1][..., :4] = stream[0][..., :4] = 0.0
    kept = [each.clone() for each in stream]
    found, expected = tiles._summary(iter(stream)), summary(iter(kept))
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert found[name].numpy().tobytes() == value.numpy().tobytes(), name
    assert all(torch.equal(*pair) for pair in zip(stream, kept, strict=True))


def summary(stream: Iterator[Tensor]) -> dict[str, Tensor]:
    """Welford 1962 from zero on."""
    mean = next(stream)
    results = {"mean": mean}
    average, square, count = torch.zeros_like(mean), torch.zeros_like(mean), 0
    for sample in stream:
        count += 1
        results.setdefault("sample", sample)
        change = sample - average
        average += change / count
        square += change * (sample - average)
    if count > 1:
        std = torch.sqrt(square / (count - 1))
        results |= {"std": std, "lower": mean - tiles.INTERVAL * std, "upper": mean + tiles.INTERVAL * std}
    return results
