"""The segmenter learns objects and classes, the same from the same seed, and tiles change nothing."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch

from sciddiff.errors import InputError, OptionError
from sciddiff.evaluation import segmenter as module
from sciddiff.evaluation.label_scores import class_scores, object_scores
from sciddiff.evaluation.segmenter import (
    HALO,
    SegmentationNet,
    Segmenter,
    probabilities,
    segment,
    train_segmenter,
)
from sciddiff.evaluation.targets import boundary_targets, class_numbers, class_weights
from sciddiff.evaluation.windows import draw, large_enough, normalised, varied
from tests.evaluation.labelled import discs, fields


@pytest.fixture(scope="module")
def trained() -> Segmenter:
    return train_segmenter([discs(0), discs(1)], kind="instances", steps=50)


def test_objects_of_an_image_never_seen_are_found(trained: Segmenter):
    image, labels = discs(7)
    found = object_scores(segment(trained, image), labels)
    assert found["f1"] > 0.8
    assert found["foreground_iou"] > 0.75


def test_gain_and_offset_of_an_image_do_not_matter(trained: Segmenter):
    image, _ = discs(7)
    assert np.array_equal(segment(trained, 8 * image + 1000), segment(trained, image))


def test_classes_are_told_apart_and_what_is_unlabelled_is_none():
    segmenter = train_segmenter([fields(0), fields(1)], kind="classes", unlabelled=0, steps=25, augment=False)
    assert segmenter.classes == (1, 2, 3)
    image, labels = fields(5)
    result = segment(segmenter, image)
    assert set(np.unique(result)) <= {1, 2, 3}
    assert class_scores([result], [labels], classes=(1, 2, 3), unlabelled=0)["mean_iou"] > 0.8


def test_the_same_seed_gives_the_same_weights_and_another_others():
    pairs, before = [discs(0)], torch.get_rng_state()
    first, again, other = (
        train_segmenter(pairs, kind="instances", steps=2, seed=seed).network.state_dict() for seed in (1, 1, 2)
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["enter.weight"], other["enter.weight"])
    assert torch.equal(before, torch.get_rng_state())


def test_synthetic_pairs_take_half_of_each_batch(monkeypatch: pytest.MonkeyPatch):
    drawn = []
    monkeypatch.setattr(module, "draw", lambda pairs, *rest: drawn.append(len(pairs)) or draw(pairs, *rest))
    train_segmenter([discs(0)], kind="instances", steps=2, synthetic=[discs(1), discs(2)])
    assert sorted(drawn) == [1] * 8 + [2] * 8


def test_tiles_give_the_result_of_the_whole():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = SegmentationNet(1, 3).eval()
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.15)
    segmenter = Segmenter(network, "instances", (), 1, (1.0, 1.0, 1.0), 0)
    image, _ = discs(3, 2 * HALO + 71, count=40)
    whole = probabilities(segmenter, image)
    assert whole.shape == (3, *image.shape[1:])
    assert whole.std() > 0.05
    assert np.abs(probabilities(segmenter, image, core=64) - whole).max() < 1e-5


def test_touching_objects_have_a_boundary_of_two_pixels_each():
    labels = np.zeros((9, 14), np.int32)
    labels[1:8, 1:7], labels[1:8, 7:13] = 4, 9
    assert boundary_targets(labels)[4].tolist() == [0, 2, 2, 1, 1, 2, 2, 2, 2, 1, 1, 2, 2, 0]
    thin = np.zeros((5, 9), np.int32)
    thin[1:4, 1:8] = 1
    assert boundary_targets(thin)[2].tolist() == [0, 2, 1, 1, 1, 1, 1, 2, 0]


def test_classes_become_numbers_and_rare_ones_weigh_more():
    numbers = class_numbers(np.array([[0, 5, 7, 7, 9, 6]]), (5, 7, 9))
    assert numbers.tolist() == [[-1, 0, 1, 1, 2, -1]]
    weights = class_weights([(np.zeros((1, 1, 6), np.float32), numbers)], 4)
    assert weights[3] == 0  # never occurs
    assert weights[0] / weights[1] == pytest.approx(2**0.5)
    assert weights[:3].mean() == pytest.approx(1)


def test_windows_keep_image_and_labels_together():
    labels = np.arange(40 * 50, dtype=np.int32).reshape(40, 50)
    pair = labels[None].astype(np.float32), labels
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(40):
        image, own = draw([pair], 16, rng)
        assert np.array_equal(image[0], own)
        image, own = varied(image / labels.size, own, rng)
        assert np.corrcoef(image.ravel(), own.ravel())[0, 1] > 0.5
        seen.add((int(np.sign(own[0, 1] - own[0, 0])), int(np.sign(own[1, 0] - own[0, 0])), own[0, 1] - own[0, 0]))
    assert len(seen) == 8  # every mirror and turn


def test_small_images_are_mirrored_and_flat_channels_are_zero():
    assert large_enough(np.arange(6).reshape(1, 2, 3), 4)[0].tolist() == [
        [0, 1, 2, 2], [3, 4, 5, 5], [3, 4, 5, 5], [0, 1, 2, 2]
    ]  # fmt: skip
    image = normalised(np.stack([np.full((8, 8), 7.0), np.linspace(0, 100, 64).reshape(8, 8)]))
    assert not image[0].any()
    assert np.percentile(image[1], [1, 99]) == pytest.approx([0, 1], abs=1e-6)


def test_what_cannot_be_learned_is_refused():
    image, labels = discs(0)
    with pytest.raises(InputError, match="no labelled image"):
        train_segmenter([], kind="instances")
    with pytest.raises(InputError, match="expected \\(c, h, w\\)"):
        train_segmenter([(image, labels[1:])], kind="instances")
    with pytest.raises(InputError, match="integers"):
        train_segmenter([(image, labels.astype(float))], kind="instances")
    with pytest.raises(InputError, match="not finite"):
        train_segmenter([(np.where(labels == 1, np.nan, image), labels)], kind="instances")
    with pytest.raises(InputError, match="two or more"):
        train_segmenter([(image, np.ones_like(labels))], kind="classes")
    with pytest.raises(InputError, match=r"\[1, 2\] channels"):
        train_segmenter([(image, labels)], kind="instances", synthetic=[fields(0)])
    with pytest.raises(OptionError, match="steps"):
        train_segmenter([(image, labels)], kind="instances", steps=0)


def test_an_image_of_other_channels_is_refused(trained: Segmenter):
    with pytest.raises(InputError, match="2 channels"):
        segment(trained, np.zeros((2, 32, 32), np.float32))


def test_real_nuclei_are_found(realdata: Path):
    image = tifffile.imread(realdata / "micro" / "dsb2018_nuclei_image.tif").astype(np.float32)[None]
    labels = tifffile.imread(realdata / "micro" / "dsb2018_nuclei_labels.tif").astype(np.int32)
    train, test = (image[:, :, :256], labels[:, :256]), (image[:, :256, 312:], labels[:256, 312:])
    found = object_scores(segment(train_segmenter([train], kind="instances", steps=60), test[0]), test[1])
    assert found["f1"] > 0.5
    assert found["foreground_iou"] > 0.7
