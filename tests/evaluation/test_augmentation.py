"""The augmentation experiment: what is annotated, what is resumed, what the intervals say, the page."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sciddiff.errors import InputError
from sciddiff.evaluation.augmentation import ARMS, BASELINE, Design, Result, annotated, run, summary
from sciddiff.evaluation.augmentation_report import told, write_augmentation
from tests.evaluation.labelled import discs

PAIRS = [discs(seed, side=128) for seed in range(3)]


def blurred(labels, seed):
    rng = np.random.default_rng(seed)
    return np.float32(20 + 60 * (labels > 0) + rng.normal(0, 3, labels.shape))[None]


def mirrored(sources, rng, shape):
    return np.ascontiguousarray(sources[0][::-1])


@settings(max_examples=30, deadline=None)
@given(share=st.floats(0.05, 1.0), seed=st.integers(0, 5))
def test_a_share_of_the_labels_is_a_share_of_their_area_in_whole_images_and_one_block(share, seed):
    found = annotated(PAIRS, share, seed=seed)
    area = sum(labels.size for _, labels in found)
    total = sum(labels.size for _, labels in PAIRS)
    assert abs(area - share * total) <= max(48**2, 0.02 * total)
    assert sum(labels.shape != (128, 128) for _, labels in found) <= 1
    assert all((labels != 0).any() and image.shape[1:] == labels.shape for image, labels in found)
    again = annotated(PAIRS, share, seed=seed)
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(found, again, strict=True))


def test_other_seeds_annotate_other_places():
    first, second = (annotated(PAIRS, 0.2, seed=seed)[0][1] for seed in (0, 1))
    assert first.shape != second.shape or not np.array_equal(first, second)


def test_labels_that_are_nowhere_are_refused():
    with pytest.raises(InputError, match=r"no block of .* with a label"):
        annotated([(PAIRS[0][0], np.zeros((128, 128), int))], 0.2, seed=0)


def test_a_run_continues_where_its_record_ends(tmp_path: Path):
    design = Design(arms=(BASELINE, "real + synthetic"), shares=(0.3,), seeds=2, steps=2, images=1, side=96)
    record, counts = tmp_path / "runs.jsonl", []

    def go():
        return run(
            PAIRS[:1],
            PAIRS[2:],
            design,
            generate=blurred,
            new_masks=mirrored,
            record=record,
            progress=lambda done, count: counts.append(done),
        )

    whole = go()
    assert [(each.arm, each.seed) for each in whole] == [(arm, seed) for seed in range(2) for arm in design.arms]
    lines = record.read_text().splitlines()
    record.write_text("\n".join(lines[:3]) + "\n" + lines[3][:20])  # killed while it wrote the last one
    counts.clear()
    assert repr(go()) == repr(whole)  # some scores are NaN
    assert counts == [3, 4]


def results(gain: float, spread: float) -> list[Result]:
    rng = np.random.default_rng(0)
    base = rng.normal(0.6, 0.1, 5)
    other = base + rng.normal(gain, spread, 5)
    return [
        Result(arm, 0.1, seed, {"f1": float(values[seed])})
        for arm, values in ((BASELINE, base), ("real + synthetic", other))
        for seed in range(5)
    ]


def test_differences_are_paired_by_seed_with_students_interval():
    found = results(0.05, 0.01)
    rows = {row.arm: row for row in summary(found, score="f1")}
    values = np.array([each.scores["f1"] for each in found]).reshape(2, 5)
    low, high = stats.t.interval(0.95, 4, (values[1] - values[0]).mean(), stats.sem(values[1] - values[0]))
    assert rows["real + synthetic"].gain_interval == pytest.approx((low, high))
    assert rows["real + synthetic"].pays is True
    assert rows[BASELINE].gain == 0
    lower, upper = stats.t.interval(0.95, 4, values[0].mean(), stats.sem(values[0]))
    assert rows[BASELINE].interval == pytest.approx((lower, upper))


@pytest.mark.parametrize(
    ("gain", "spread", "words"),
    [(0.05, 0.01, "is better than"), (-0.05, 0.01, "is worse than"), (0.0, 0.05, "cannot be told from")],
)
def test_the_page_says_where_synthetic_images_pay_and_where_not(tmp_path: Path, gain, spread, words):
    rows = summary(results(gain, spread), score="f1")
    assert f"real + synthetic {words} real + usual at 10 % of the labels" in told(rows, score="f1")
    path = tmp_path / "page.html"
    write_augmentation(rows, path, title="A & B", score="f1", design=Design(), examples=[PAIRS[0]])
    page = path.read_text()
    assert words in page
    assert "A &amp; B" in page
    assert page.count("<circle") == 2
    assert [each.name for each in tmp_path.iterdir()] == ["page.html"]


def test_one_seed_has_no_interval():
    rows = summary([each for each in results(0.1, 0.01) if each.seed == 0], score="f1")
    assert all(row.interval == (-math.inf, math.inf) for row in rows)
    assert all(row.pays is None for row in rows)


def test_every_arm_is_known():
    assert ARMS[BASELINE] == (True, False)
