"""Scores of labels by hand."""

import math

import numpy as np
import pytest

from sciddiff.errors import InputError
from sciddiff.evaluation.label_scores import class_scores, mean_scores, object_scores

TRUTH = np.array([[1, 1, 1, 1, 0, 0, 2, 2, 0, 0]])


def test_objects_by_hand():
    result = np.array([[0, 7, 7, 7, 0, 0, 0, 5, 5, 0]])  # IoU 3 / 4 and 1 / 3
    found = object_scores(result, TRUTH)
    assert found["object_iou"] == pytest.approx((3 / 4 + 1 / 3) / 2)
    assert found["matched_iou"] == pytest.approx(3 / 4)
    assert found["foreground_iou"] == pytest.approx(4 / 7)
    assert found["f1"] == pytest.approx(2 / (2 + 1 + 1))
    assert found["average_precision"] == pytest.approx(6 / 10 * 1 / 3)  # found at 0.5 to 0.75 of ten thresholds
    assert found["panoptic_quality"] == pytest.approx(3 / 4 / 2)


def test_the_truth_itself_is_perfect_whatever_its_numbers():
    found = object_scores(np.where(TRUTH == 1, 12, TRUTH * 3), TRUTH)
    assert set(found.values()) == {1.0}


def test_nothing_found_is_nought_and_nothing_there_is_no_number():
    found = object_scores(0 * TRUTH, TRUTH)
    assert math.isnan(found.pop("matched_iou"))
    assert set(found.values()) == {0.0}
    assert all(math.isnan(score) for score in object_scores(0 * TRUTH, 0 * TRUTH).values())
    made_up = object_scores(TRUTH, 0 * TRUTH)
    assert math.isnan(made_up["object_iou"])
    assert (made_up["f1"], made_up["average_precision"]) == (0, 0)


def test_a_pair_above_one_half_is_matched_though_another_pairing_overlaps_more():
    truth = np.array([[1] * 10 + [2] * 9])
    result = np.array([[3] * 3 + [4] * 16])
    # 4 and 2 share 9 of 16; pairing 4 with 1 and leaving 3 out shares less
    found = object_scores(result, truth)
    assert found["f1"] == pytest.approx(2 / 4)
    assert found["matched_iou"] == pytest.approx(9 / 16)


def test_classes_by_hand():
    truth = np.array([[1, 1, 1, 2, 2, 0, 0, 3]])
    result = np.array([[1, 1, 2, 2, 2, 2, 1, 3]])
    found = class_scores([result], [truth], classes=(1, 2, 3), unlabelled=0)
    assert (found["iou_1"], found["iou_2"], found["iou_3"]) == pytest.approx((2 / 3, 2 / 3, 1))
    assert found["mean_iou"] == pytest.approx(7 / 9)
    assert found["accuracy"] == pytest.approx(5 / 6)


def test_classes_are_pooled_over_images_and_absent_ones_have_no_score():
    truths = [np.array([[1, 1]]), np.array([[1, 2]])]
    found = class_scores([np.array([[1, 2]]), np.array([[1, 2]])], truths, classes=(1, 2, 4))
    assert (found["iou_1"], found["iou_2"]) == pytest.approx((2 / 3, 1 / 2))
    assert math.isnan(found["iou_4"])
    assert found["mean_iou"] == pytest.approx(7 / 12)
    with pytest.raises(InputError, match="none of the classes"):
        class_scores(truths, truths, classes=(9,))
    with pytest.raises(InputError, match="one shape"):
        class_scores([TRUTH], truths[:1], classes=(1,))


def test_means_leave_out_what_is_not_known():
    assert mean_scores([{"f1": 1.0, "iou": math.nan}, {"f1": 0.5, "iou": 0.25}]) == {"f1": 0.75, "iou": 0.25}
    assert math.isnan(mean_scores([{"iou": math.nan}])["iou"])
