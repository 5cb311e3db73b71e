"""Textures are told apart by texture, not by brightness, and asked classes are counted."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from sciddiff.errors import InputError, OptionError
from sciddiff.evaluation.image_classifier import Agreement, Classifier, agreement, classify, train_classifier
from sciddiff.evaluation.windows import Image

WIDE, FINE = "wide", "fine"


def texture(seed: int, name: str, *, gain: float = 1.0, side: int = 96) -> Image:
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(0, 1, (1, side, side)), (0, *([4] * 2 if name == WIDE else [1] * 2)))
    return np.float32(gain * (3 + smooth / smooth.std()))


@pytest.fixture(scope="module")
def trained() -> Classifier:
    images = {name: [texture(seed + 10 * at, name) for seed in range(3)] for at, name in enumerate((WIDE, FINE))}
    return train_classifier(images, steps=30)


def test_images_never_seen_are_told_apart_whatever_their_gain(trained: Classifier):
    asked = [WIDE, FINE] * 3
    images = [texture(50 + at, name, gain=10.0**at) for at, name in enumerate(asked)]
    found = agreement(trained, images, asked)
    assert found.share == found.balanced == 1
    assert found.confusion.tolist() == [[3, 0], [0, 3]]
    assert found.probability > 0.7
    wrong = agreement(trained, images, asked[::-1])
    assert wrong.share == 0
    assert wrong.probability == pytest.approx(1 - found.probability, abs=1e-6)


def test_probabilities_are_of_all_windows_and_small_images_are_mirrored(trained: Classifier):
    half = np.concatenate([texture(1, WIDE, side=128), texture(2, FINE, side=128)], 2)
    both = classify(trained, half)
    assert both.sum() == pytest.approx(1)
    assert 0.2 < both[0] < 0.8
    assert classify(trained, texture(3, FINE, side=40)).argmax() == 1


def test_brightness_counts_where_it_is_asked_to():
    gains = {"dark": 1, "bright": 4}
    images = {name: [texture(seed, FINE, gain=gain) for seed in (gain, gain + 1)] for name, gain in gains.items()}
    found = train_classifier(images, steps=20, contrast_free=False)
    assert agreement(found, [texture(7, FINE), texture(8, FINE, gain=4)], ["dark", "bright"]).share == 1


def test_the_same_seed_gives_the_same_weights():
    images = {WIDE: [texture(0, WIDE)], FINE: [texture(1, FINE)]}
    first, again = (train_classifier(images, steps=2, seed=3).network.state_dict() for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_shares_by_hand():
    found = Agreement(("a", "b", "c"), np.array([[3, 1, 0], [1, 0, 0], [0, 0, 0]]), 0.5)
    assert found.share == pytest.approx(3 / 5)
    assert found.balanced == pytest.approx((3 / 4 + 0) / 2)
    assert found.to_dict()["confusion"] == [[3, 1, 0], [1, 0, 0], [0, 0, 0]]


def test_what_cannot_be_told_apart_is_refused(trained: Classifier):
    image = texture(0, WIDE)
    with pytest.raises(InputError, match="two or more classes"):
        train_classifier({WIDE: [image]})
    with pytest.raises(InputError, match="two or more classes"):
        train_classifier({WIDE: [image], FINE: []})
    with pytest.raises(InputError, match=r"\[1, 2\] channels"):
        train_classifier({WIDE: [image], FINE: [np.concatenate([image, image])]})
    with pytest.raises(OptionError, match="steps"):
        train_classifier({WIDE: [image], FINE: [image]}, steps=0)
    with pytest.raises(InputError, match=r"\['coarse'\] are unknown"):
        agreement(trained, [image], ["coarse"])
    with pytest.raises(InputError, match="2 images and 1 classes"):
        agreement(trained, [image, image], [WIDE])
    with pytest.raises(InputError, match="2 channels"):
        classify(trained, np.concatenate([image, image]))
