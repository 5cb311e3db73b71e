"""Keyed noise: known answers, crops, moments and independence."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sciddiff.diffusion.noise import keyed_normal, philox4x32

FULL = 0xFFFFFFFF
KEY = {"seed": 11, "sample": 2, "step": 3}

# Random123's kat_vectors, philox4x32 10.
KNOWN_ANSWERS = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((FULL,) * 4, (FULL,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN_ANSWERS)
def test_philox_gives_the_known_answers(counter, key, words):
    assert philox4x32(counter, key) == words


def test_philox_on_tensors_equals_philox_on_numbers():
    counters = torch.tensor([counter for counter, _, _ in KNOWN_ANSWERS])
    for _, key, _ in KNOWN_ANSWERS:
        words = torch.stack(philox4x32(tuple(counters.T), key), 1)
        assert words.tolist() == [list(philox4x32(tuple(counter), key)) for counter in counters.tolist()]


def box_muller(words):
    """What the module promises for four words, by the standard library."""
    normals = []
    for first, second in (words[:2], words[2:]):
        radius = math.sqrt(-2 * math.log((first + 0.5) / 2**32))
        quarter, rest = divmod(second, 2**30)
        angle = (rest + 0.5) / 2**30 * math.pi / 2 - math.pi / 4 + quarter * math.pi / 2
        normals += [radius * math.cos(angle), radius * math.sin(angle)]
    return normals


@pytest.mark.parametrize(("y", "x"), [(0, 0), (-1, 7), (2**31 + 5, -(2**40)), (-(2**62), 2**62)])
def test_value_is_the_box_muller_normal_of_the_pixels_counter(y, x):
    key = philox4x32((KEY["sample"], KEY["step"], 1, 0), (KEY["seed"], 0))[:2]
    words = philox4x32((y & FULL, y >> 32 & FULL, x & FULL, x >> 32 & FULL), key)
    values = keyed_normal(**KEY, channels=8, origin=(y, x), shape=(1, 1))[4:]
    np.testing.assert_array_equal(values.flatten().numpy(), np.float32(box_muller(words)))


coordinate = st.one_of(st.integers(-300, 300), st.integers(-(2**62), 2**62))


@settings(max_examples=60, deadline=None)
@given(data=st.data(), dims=st.sampled_from([2, 3]), channels=st.integers(1, 9))
def test_noise_of_a_crop_is_the_crop_of_the_noise(data, dims, channels):
    shape = [data.draw(st.integers(1, 40 if dims == 2 else 9)) for _ in range(dims)]
    origin = [data.draw(coordinate) for _ in range(dims)]
    low = [data.draw(st.integers(0, n - 1)) for n in shape]
    size = [data.draw(st.integers(1, n - a)) for n, a in zip(shape, low, strict=True)]
    key = {"seed": data.draw(st.integers(-(2**64), 2**64)), "sample": 5, "step": data.draw(st.integers(0, 2**32 - 1))}
    whole = keyed_normal(**key, channels=channels, origin=tuple(origin), shape=tuple(shape))
    fewer = data.draw(st.integers(1, channels))
    crop = keyed_normal(
        **key, channels=fewer, origin=tuple(o + a for o, a in zip(origin, low, strict=True)), shape=tuple(size)
    )
    window = tuple(slice(a, a + n) for a, n in zip(low, size, strict=True))
    assert torch.equal(crop, whole[(slice(fewer), *window)])


def test_crops_agree_across_the_seams_of_the_computation():
    whole = keyed_normal(**KEY, channels=3, origin=(-100, -9000), shape=(37, 20_011))
    for top, left, height, width in [(0, 0, 37, 1), (3, 16_380, 5, 11), (36, 0, 1, 20_011), (11, 777, 9, 3001)]:
        crop = keyed_normal(**KEY, channels=3, origin=(top - 100, left - 9000), shape=(height, width))
        assert torch.equal(crop, whole[:, top : top + height, left : left + width])


def test_noise_is_the_same_on_every_number_of_threads():
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = keyed_normal(**KEY, channels=4, origin=(0, 0), shape=(300, 300))
        torch.set_num_threads(2)
        assert torch.equal(one, keyed_normal(**KEY, channels=4, origin=(0, 0), shape=(300, 300)))
    finally:
        torch.set_num_threads(threads)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_noise_is_the_same_on_a_cuda_device():
    window = {"channels": 5, "origin": (-7, 2**33), "shape": (701, 903)}
    assert torch.equal(keyed_normal(**KEY, **window, device="cuda").cpu(), keyed_normal(**KEY, **window))


def test_values_are_standard_normal():
    values = keyed_normal(**KEY, channels=4, origin=(-200, 5), shape=(500, 500)).double()
    for channel in values.flatten(1).numpy():
        n = len(channel)
        assert abs(channel.mean()) < 4 / math.sqrt(n)
        assert abs(channel.var() - 1) < 4 * math.sqrt(2 / n)
        assert abs(stats.skew(channel)) < 4 * math.sqrt(6 / n)
        assert abs(stats.kurtosis(channel)) < 4 * math.sqrt(24 / n)
        assert stats.kstest(channel, "norm").pvalue > 1e-3


def test_volume_is_standard_normal():
    values = keyed_normal(**KEY, channels=2, origin=(-3, -5, 9), shape=(20, 100, 100)).double().numpy()
    assert stats.kstest(values.ravel(), "norm").pvalue > 1e-3


def correlation(a, b):
    return float(np.corrcoef(a.flatten().numpy(), b.flatten().numpy())[0, 1])


def field(**changes):
    key = {"seed": 1, "sample": 0, "step": 0, "channels": 1, "origin": (0, 0), "shape": (300, 300)} | changes
    return keyed_normal(**key)


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 2},
        {"seed": 1 + 2**32},
        {"seed": -1},
        {"sample": 1},
        {"step": 1},
        {"sample": 2**31},
        {"origin": (0, 2**32)},
        {"origin": (2**32, 0)},
        {"origin": (2**32, 2**32)},
        {"origin": (-300, 0)},
    ],
)
def test_other_key_gives_independent_noise(changes):
    here, there = field(), field(**changes)
    assert abs(correlation(here, there)) < 4 / 300
    assert abs(correlation(here.square(), there.square())) < 4 / 300


def test_sample_and_step_are_not_interchangeable():
    assert abs(correlation(field(sample=1, step=0), field(sample=0, step=1))) < 4 / 300


def test_channels_are_independent():
    values = field(channels=9)
    for moments in (values, values.square(), values.abs().log()):
        between = np.corrcoef(moments.flatten(1).numpy()) - np.eye(9)
        assert np.abs(between).max() < 4.5 / 300


@pytest.mark.parametrize("shift", [(0, 1), (1, 0), (1, 1), (1, -1), (0, 2), (4, 0), (0, 64)])
def test_neighbours_are_independent(shift):
    here, there = field(), field(origin=shift)
    assert torch.equal(here[:, 100, 100], there[:, 100 - shift[0], 100 - shift[1]])
    assert abs(correlation(here, there)) < 4 / 300
    assert abs(correlation(here.square(), there.square())) < 4 / 300


def test_slices_of_a_volume_are_independent_of_each_other_and_of_the_plane():
    volume = keyed_normal(seed=1, sample=0, step=0, channels=1, origin=(-1, 0, 0), shape=(3, 300, 300))[0]
    fields = [*volume, field()[0]]
    between = np.corrcoef(torch.stack(fields).flatten(1).numpy()) - np.eye(4)
    assert np.abs(between).max() < 4 / 300


@pytest.mark.parametrize(("origin", "shape"), [((0,), (4,)), ((0, 0), (1, 4, 4)), ((0, 0, 0, 0), (1, 1, 1, 1))])
def test_window_of_other_dimensions_is_refused(origin, shape):
    with pytest.raises(ValueError, match="2 or 3 numbers"):
        keyed_normal(**KEY, channels=1, origin=origin, shape=shape)


def test_empty_window_and_no_channels_are_empty():
    assert keyed_normal(**KEY, channels=2, origin=(0, 0), shape=(0, 5)).shape == (2, 0, 5)
    assert keyed_normal(**KEY, channels=0, origin=(0, 0), shape=(4, 5)).shape == (0, 4, 5)
