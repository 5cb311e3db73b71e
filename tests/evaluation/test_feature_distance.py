"""Distances of Gaussians are those of the closed forms; synthetic images are measured beside the floor of real ones."""

import numpy as np
import pytest
import torch

from sciddiff.errors import InputError
from sciddiff.evaluation.feature_distance import (
    compare_classes,
    compare_sets,
    features,
    frechet,
    kernel_distance,
)
from sciddiff.evaluation.segmenter import SegmentationNet, Segmenter
from tests.evaluation.labelled import discs


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = SegmentationNet(1, 3).eval()
    return Segmenter(network, "instances", (), 1, (1.0, 1.0, 1.0), 0)


def exact(rng: np.random.Generator, mean: np.ndarray, root: np.ndarray, count: int = 200) -> np.ndarray:
    """Rows whose sample mean and covariance are exactly those asked for."""
    rows = rng.normal(size=(count, len(mean)))
    rows -= rows.mean(0)
    rows = rows @ np.linalg.inv(np.linalg.cholesky(np.cov(rows.T))).T
    return mean + rows @ root.T


def test_the_frechet_distance_of_gaussians_is_in_closed_form():
    rng = np.random.default_rng(0)
    means, spreads = np.array([[0.0, 1, 2], [3.0, -1, 2]]), np.array([[1.0, 2, 3], [2.0, 2, 0.5]])
    a, b = (exact(rng, mean, np.diag(spread)) for mean, spread in zip(means, spreads))
    expected = np.square(means[0] - means[1]).sum() + np.square(spreads[0] - spreads[1]).sum()
    assert frechet(a, b) == pytest.approx(expected)
    assert frechet(a, a) == pytest.approx(0, abs=1e-9)


def test_the_frechet_distance_of_correlated_features_is_that_of_the_matrix_root():
    from scipy.linalg import sqrtm

    rng = np.random.default_rng(1)
    roots = [rng.normal(size=(4, 4)) for _ in range(2)]
    a, b = (exact(rng, np.zeros(4), root) for root in roots)
    covariances = [root @ root.T for root in roots]
    expected = sum(map(np.trace, covariances)) - 2 * np.trace(sqrtm(covariances[0] @ covariances[1])).real
    assert frechet(a, b) == pytest.approx(expected)
    turned, _ = np.linalg.qr(rng.normal(size=(4, 4)))
    assert frechet(a @ turned, b @ turned) == pytest.approx(expected)


def test_the_kernel_distance_by_hand_and_without_bias():
    a, b = np.array([[1.0], [2.0]]), np.array([[0.0], [3.0]])
    expected = 3.0**3 + 1.0**3 - 2 * (1 + 4**3 + 1 + 7**3) / 4
    assert kernel_distance(a, b) == pytest.approx(expected)
    rng = np.random.default_rng(0)
    alike = [kernel_distance(*rng.normal(size=(2, 20, 3))) for _ in range(400)]
    assert abs(np.mean(alike)) < 3 * np.std(alike) / 20
    # one feature, N(0, 1) against N(m, 1): E (x y + 1)^3 of independent x, y
    shift = 1.0

    def moments(mean: float) -> list[float]:
        return [1, mean, mean**2 + 1, mean**3 + 3 * mean]

    def kernel(p: float, q: float) -> float:
        return sum(c * x * y for c, x, y in zip((1, 3, 3, 1), moments(p), moments(q)))

    apart = [kernel_distance(rng.normal(size=(50, 1)), rng.normal(shift, 1, size=(50, 1))) for _ in range(400)]
    expected = kernel(0, 0) + kernel(shift, shift) - 2 * kernel(0, shift)
    assert np.mean(apart) == pytest.approx(expected, abs=4 * np.std(apart) / 20)


def test_sets_that_are_alike_are_at_the_floor_and_others_above():
    rng = np.random.default_rng(0)
    real, same, other = (rng.normal(shift, 1, (60, 5)) for shift in (0, 0, 1.5))
    found = compare_sets(real, same)
    assert found.count == 30
    assert found.kernel_floor.low < found.kernel.mean < found.kernel_floor.high
    far = compare_sets(real, other)
    assert far.kernel.low > far.kernel_floor.high
    assert far.frechet.low > far.frechet_floor.high
    assert far.frechet_floor == found.frechet_floor
    assert compare_sets(real, other, seed=0) == far


def test_units_of_features_do_not_matter():
    rng = np.random.default_rng(0)
    real, made = rng.normal(size=(40, 3)), rng.normal(0.3, 1, size=(30, 3))
    units = np.array([1.0, 1e4, 1e-3])
    first, again = compare_sets(real, made), compare_sets(real * units, made * units)
    assert first.frechet.mean == pytest.approx(again.frechet.mean)
    assert first.kernel.mean == pytest.approx(again.kernel.mean)


def test_images_with_other_noise_are_far_by_the_segmenters_features(segmenter: Segmenter):
    real = [discs(seed, 48)[0] for seed in range(12)]
    same = [discs(seed, 48)[0] for seed in range(20, 28)]
    noisy = [discs(seed, 48, noise=25)[0] for seed in range(30, 38)]
    found = compare_classes(segmenter, {"a": real, "b": real, "c": real}, {"a": same, "b": noisy})
    assert set(found) == {"a", "b"}
    assert found["a"].kernel.mean < found["a"].kernel_floor.high
    assert found["b"].kernel.mean > found["b"].kernel_floor.high
    rows = features(segmenter, real)
    assert rows.shape == (12, 2 * (32 + 64))
    assert np.allclose(rows, features(segmenter, [9 * image + 5 for image in real]), atol=1e-3)


def test_sets_that_cannot_be_compared_are_refused(segmenter: Segmenter):
    rows = np.zeros((8, 3))
    with pytest.raises(InputError, match="8 or more"):
        compare_sets(rows[:7], rows)
    with pytest.raises(InputError, match="4 or more"):
        compare_sets(rows, rows[:3])
    with pytest.raises(InputError, match="one number of features"):
        frechet(rows, rows[:, 1:])
    with pytest.raises(InputError, match="none is shared"):
        compare_classes(segmenter, {"a": []}, {"b": []})
    with pytest.raises(InputError, match="class a"):
        compare_classes(segmenter, {"a": []}, {"a": []})
    with pytest.raises(InputError, match="2 channels"):
        features(segmenter, [np.zeros((2, 16, 16), np.float32)])
