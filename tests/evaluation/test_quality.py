"""Images that show their labels pass the filter, others do not."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from sciddiff.errors import InputError, OptionError
from sciddiff.evaluation import quality as module
from sciddiff.evaluation.labelled_folder import pairs_of
from sciddiff.evaluation.quality import keep, patches, quality, threshold_from_real
from sciddiff.evaluation.segmenter import Segmenter, train_segmenter
from tests.evaluation.labelled import discs


@pytest.fixture(scope="module")
def judge() -> Segmenter:
    return train_segmenter([discs(0), discs(1)], kind="instances", steps=50)


def test_names_of_images_may_have_dots(tmp_path: Path) -> None:
    """Or else all but one of them would be lost, and those of a manifest not found."""
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
        for name in ("well.1.tif", "well.2.tif", "plane.ome.tif"):
            tifffile.imwrite(tmp_path / folder / name, np.ones((9, 8), np.uint8), metadata=None)
    assert sorted(pairs_of(tmp_path)) == ["plane", "well.1", "well.2"]


def test_images_that_do_not_show_their_labels_are_dropped(judge: Segmenter):
    threshold = threshold_from_real(judge, [discs(seed) for seed in (10, 11, 12)])
    assert threshold.value == pytest.approx(0.7 * np.median(threshold.real))
    good, other = discs(20), discs(21)
    swapped = (good[0], other[1])
    empty = (np.random.default_rng(0).normal(20, 3, good[0].shape).astype(np.float32), good[1])
    kept, scores = keep(judge, [good, swapped, empty, other], threshold)
    assert [id(pair) for pair in kept] == [id(good), id(other)]
    assert scores[0] > threshold.value > 0.4 > max(scores[1], scores[2])
    assert threshold.to_dict()["real_kept"] == 1


def test_the_threshold_follows_what_is_reached_on_real_images(monkeypatch: pytest.MonkeyPatch, judge: Segmenter):
    scores = iter([0.2, 0.8, 0.4])
    monkeypatch.setattr(module, "quality", lambda *_: next(scores))
    found = threshold_from_real(judge, [discs(seed) for seed in (1, 2, 3)], share=0.5)
    assert (found.median, found.value) == (0.4, 0.2)
    assert found.real.tolist() == [0.2, 0.4, 0.8]


def test_patches_cover_what_they_can_once():
    labels = np.arange(7 * 10).reshape(7, 10)
    parts = list(patches((labels[None].astype(np.float32), labels), (3, 4)))
    assert [part.shape for _, part in parts] == [(3, 4)] * 4
    assert np.unique([part for _, part in parts]).size == 48
    assert all(np.array_equal(image[0], part) for image, part in parts)
    assert [part.shape for _, part in patches((labels[None].astype(np.float32), labels), (9, 5))] == [(7, 5)] * 2


def test_what_cannot_be_compared_is_refused(judge: Segmenter):
    image, labels = discs(0)
    with pytest.raises(OptionError, match="share"):
        threshold_from_real(judge, [(image, labels)], share=0)
    with pytest.raises(InputError, match="nothing to compare"):
        threshold_from_real(judge, [(image, 0 * labels)])
    assert quality(judge, np.full_like(image, 3), 0 * labels) == 1.0
