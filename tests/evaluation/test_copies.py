"""Planted copies are found whatever was done to their contrast; independent images are not taken for copies."""

import math
from pathlib import Path

import numpy as np
import pytest
import tifffile
from scipy import ndimage

from sciddiff.errors import InputError
from sciddiff.evaluation.copies import Copies, Nearest, copies, nearest_training
from sciddiff.evaluation.windows import Image

SIZE = 32


def texture(seed: int, side: int = 128, channels: int = 1) -> Image:
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(0, 1, (channels, side, side)), (0, 3, 3), mode="wrap")
    return np.float32(100 + 200 * smooth + rng.normal(0, 2, smooth.shape))


@pytest.mark.parametrize(("turns", "mirrored"), [(0, False), (1, False), (3, True), (0, True)])
def test_a_copy_is_found_where_it_was_taken(turns: int, mirrored: bool):
    training = [texture(0), texture(1)]
    taken = training[1][:, 37:69, 50:82]
    laid = np.rot90(taken, -turns, (1, 2))
    copy = 0.3 * (laid[:, :, ::-1] if mirrored else laid) + 40
    (found,) = nearest_training([copy + np.random.default_rng(5).normal(0, 1, copy.shape)], training, size=SIZE)
    assert (found.image, found.row, found.column) == (1, 37, 50)
    assert (found.turns, found.mirrored) == (turns, mirrored)
    assert found.distance < 0.2
    (other,) = nearest_training([texture(9)[:, :SIZE, :SIZE]], training, size=SIZE)
    assert other.distance > 0.6


def test_distances_by_hand():
    patch, other = texture(3, SIZE), texture(4, SIZE)
    a, b = (ndimage.gaussian_filter(image, (0, 1, 1)) for image in (patch, other))
    standard = [(image - image.mean()) / image.std() for image in (a, b)]
    versions = [np.rot90(image, k, (1, 2)) for image in (standard[0], standard[0][:, :, ::-1]) for k in range(4)]
    expected = min(float(np.sqrt(np.mean((image - standard[1]) ** 2))) for image in versions)
    (found,) = nearest_training([patch], [other], size=SIZE)
    assert found.distance == pytest.approx(expected, rel=1e-4)
    (same,) = nearest_training([patch], [5 * patch - 3], size=SIZE)
    assert same.distance < 0.01


def test_channels_lose_their_contrast_one_by_one():
    training = texture(0, channels=2)
    copy = training[:, 10:42, 20:52] * np.array([3.0, 0.1])[:, None, None]
    (found,) = nearest_training([copy], [training], size=SIZE)
    assert (found.row, found.column) == (10, 20)
    assert found.distance < 0.05


def test_one_planted_copy_among_independent_images_is_flagged():
    training, held_out = [texture(seed) for seed in (0, 1)], [texture(seed) for seed in (2, 3)]
    generated = [texture(seed, 64) for seed in range(10, 15)]
    rng = np.random.default_rng(0)
    planted = np.rot90(training[0][:, 30:62, 8:40], 1, (1, 2)) * 0.5 + rng.normal(0, 1.5, (1, SIZE, SIZE))
    found = copies([*generated, planted], training, held_out, size=SIZE)
    assert found.copied == [len(found.generated) - 1]
    assert found.suspects[0] == found.copied[0]
    assert (found.generated[-1].image, found.generated[-1].row, found.generated[-1].column) == (0, 30, 8)
    told = found.to_dict()
    assert told["patches"] == {"generated": 21, "real": 32}
    assert told["suspects"][0]["patch"] == 20
    assert told["quantiles"]["generated"]["0"] < 0.3 < told["quantiles"]["real"]["0"]


def test_independent_images_are_not_flagged():
    training, held_out = [texture(seed) for seed in (0, 1)], [texture(seed) for seed in (2, 3)]
    found = copies([texture(seed, 64) for seed in range(10, 18)], training, held_out, size=SIZE)
    assert found.copied == []
    assert len(found.suspects) <= 2
    assert min(found.p_nearer, found.p_tail) > 0.05


def test_a_generator_that_repeats_its_training_images_is_told_by_both_tests():
    training, held_out = [texture(0)], [texture(2)]
    found = copies([training[0][:, 3:99, 5:101]], training, held_out, size=SIZE)
    assert len(found.copied) == len(found.generated) == 9
    assert max(found.p_nearer, found.p_tail) < 1e-3


def test_the_tail_by_hand():
    def at(*distances: float) -> tuple[Nearest, ...]:
        return tuple(Nearest(distance, 0, 0, 0, 0, False) for distance in distances)

    found = Copies(SIZE, at(0.1, 0.2, 0.9), at(0.5, 0.6, 0.7))
    assert found.p_tail == pytest.approx(3 / 6 * 2 / 5)
    assert found.floor == pytest.approx(0.502)
    assert (found.suspects, found.copied) == ([0, 1], [0, 1])
    assert Copies(SIZE, at(0.6), at(0.5)).p_tail == 1


def test_flat_patches_and_flat_ground_are_no_copies():
    flat = np.full((1, SIZE, SIZE), 7.0, np.float32)
    (found,) = nearest_training([flat], [texture(0)], size=SIZE)
    assert found.distance == pytest.approx(math.sqrt(2))
    ground = texture(0)
    ground[:, :, 64:] = 100 + np.random.default_rng(0).normal(0, 0.01, (1, 128, 64))
    (found,) = nearest_training([ground[:, 10:42, 80:112]], [ground], size=SIZE)
    assert found.distance > 0.5


def test_what_cannot_be_searched_is_refused():
    with pytest.raises(InputError, match="as large as a patch"):
        nearest_training([texture(0, SIZE)], [texture(1, SIZE - 1)], size=SIZE)
    with pytest.raises(InputError, match="a patch is"):
        nearest_training([texture(0, SIZE, 2)], [texture(1)], size=SIZE)
    with pytest.raises(InputError, match="held-out images"):
        copies([texture(0)], [texture(1)], [], size=SIZE)
    with pytest.raises(InputError, match="generated images"):
        copies([texture(0, 16)], [texture(1)], [texture(2)], size=SIZE)


def test_real_nuclei_beside_others_are_no_copies_of_each_other(realdata: Path):
    image = tifffile.imread(realdata / "micro" / "dsb2018_nuclei_image.tif").astype(np.float32)[None]
    train, test = image[:, :256, :256], image[:, :192, 320:]
    turned = np.rot90(train[:, 20:84, 100:164], 2, (1, 2)) * 3
    found = copies([image[:, 320:, 320:], turned], [train], [test], size=64)
    assert found.copied == [9]
    assert found.p_nearer > 0.01
