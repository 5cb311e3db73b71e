"""A pool of simulated windows: the same run whether interrupted, whoever simulates, wherever the network is."""

import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from sciddiff.cli import cli
from sciddiff.errors import InputError, InterruptedRun, OptionError, OutputError
from sciddiff.model import load
from sciddiff.recipe import load_recipe
from sciddiff.recipe.schema import Recipe
from sciddiff.tasks import build_task
from sciddiff.training import loop, pool, train
from sciddiff.training.patches import open_scenes
from sciddiff.training.pool import Pool, simulate_group, simulating
from sciddiff.training.windows import Windows
from tests.fake_accelerator import pretended
from tests.synthesis import write_raster

RECIPE = """
version: 1
name: tiny
task: {kind: super_resolution, ratio: 2}
bands: [red, nir]
data: {train: [full.tif]}
network: {widths: [8, 8], encoder_blocks: [0, 1], denoiser_blocks: [0, 1], stem: 2, embedding: 8}
training: {steps: 8, batch: 4, patch: 24, warmup: 2, checkpoint_every: 20, reuse: 3}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    rng = np.random.default_rng(0)
    write_raster(tmp_path / "full.tif", rng.normal(size=(2, 60, 70)).cumsum(1).cumsum(2).astype("f4"), ["red", "nir"])
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return load_recipe(tmp_path / "recipe.yaml")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two batches before the first step, three in all: windows leave the pool after the second step."""
    monkeypatch.setattr(loop, "CALIBRATION_BATCHES", 2)
    monkeypatch.setattr(pool, "WINDOWS", 12)


def weights(path: Path) -> dict[str, torch.Tensor]:
    model = load(path)
    return {**model.network.state_dict(), "root": model.residual_root}


def same(first: Path, second: Path) -> None:
    ours, theirs = weights(first), weights(second)
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def stop_at(*numbers: int) -> Callable[[int, int, dict[str, float]], None]:
    def stop(step: int, steps: int, figures: dict[str, float]) -> None:
        if step in numbers:
            os.kill(os.getpid(), signal.SIGTERM)

    return stop


def test_a_stopped_run_continues_to_the_same_weights_with_and_without_workers(recipe: Recipe, tmp_path: Path) -> None:
    whole = train(recipe, tmp_path / "whole")
    for workers in (0, 2):
        folder = tmp_path / f"parts{workers}"
        for _ in range(2):
            with pytest.raises(InterruptedRun, match=r"stopped at step [15] of 8; the same command continues"):
                train(recipe, folder, workers=workers, progress=stop_at(1, 5))
            assert not multiprocessing.active_children()
        same(whole, train(recipe, folder, workers=workers))
    assert not multiprocessing.active_children()


def test_an_accelerator_is_shown_what_the_cpu_is(recipe: Recipe, tmp_path: Path) -> None:
    expected = train(recipe, tmp_path / "cpu")
    with pretended():
        same(expected, train(recipe, tmp_path / "cuda", device="cuda"))


def counting(recipe: Recipe, **asked: int) -> tuple[Pool, list[int]]:
    """A pool whose windows hold the number of their group, and the numbers of those simulated."""
    made: list[int] = []

    def simulate(number: int) -> Windows:
        made.append(number)
        size = pool.group_size(recipe)
        return Windows(*(torch.full((size, 1), float(number)) for _ in Windows._fields))

    recipe = recipe.model_copy(update={"training": recipe.training.model_copy(update=asked)})
    cpu = torch.device("cpu")
    return Pool(recipe, build_task(recipe), simulate, device=cpu, lead=2, stopped=lambda: None), made


def test_a_window_is_shown_as_often_as_asked_and_twice_in_no_batch(
    recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "WINDOWS", 24)
    windows, made = counting(recipe, batch=8, reuse=8)
    shown: Counter[int] = Counter()
    for step in range(400):
        batch = [int(number) for number in windows.at(step)[0].residual[:, 0]]
        assert len(set(batch)) == 8
        assert set(batch) <= set(range(made[-1] - 23, made[-1] + 1))
        shown.update(batch)
    assert made == list(range(16 + 400))
    settled = [shown[number] for number in range(50, 350)]
    assert np.mean(settled) == pytest.approx(8, rel=0.05)
    assert min(settled) < 8 < max(settled)


def test_a_continued_run_simulates_what_the_pool_would_hold(recipe: Recipe) -> None:
    whole, _ = counting(recipe)
    batches = [whole.at(step)[0].residual for step in range(20)]
    part, made = counting(recipe)
    assert torch.equal(part.at(15)[0].residual, batches[15])
    assert made == list(range(14, 20))  # six groups of two: four were there before the first step
    assert torch.equal(part.at(16)[0].residual, batches[16])
    assert made[-1] == 20


def test_noise_is_new_at_each_step(recipe: Recipe) -> None:
    windows, _ = counting(recipe)
    first, second, again = (torch.rand(5, generator=windows.at(step)[1]) for step in (0, 1, 1))
    assert not torch.equal(first, second)
    assert torch.equal(second, again)


def test_large_windows_are_fewer(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    task = build_task(recipe)
    monkeypatch.setattr(pool, "BYTES", 8 * 4 * 24 * 24 * (2 + task.maps + 1))
    windows, _ = counting(recipe, reuse=4)
    assert windows.groups == 8
    monkeypatch.setattr(pool, "BYTES", 1)
    windows, _ = counting(recipe, reuse=4)
    assert windows.groups == 4  # a batch


def test_groups_are_functions_of_their_number(recipe: Recipe) -> None:
    task = build_task(recipe)
    scenes = open_scenes(recipe, task, recipe.data.train)
    first, again, other = (simulate_group(recipe, task, scenes, number) for number in (3, 3, 4))
    assert all(torch.equal(*pair) for pair in zip(first, again, strict=True))
    assert not torch.equal(first.residual, other.residual)
    assert not torch.equal(first.numbers, other.numbers)  # other windows, by other instruments


def test_one_thread_simulates_whoever_does(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []

    def simulated(*given: Any) -> None:
        threads.append(torch.get_num_threads())
        raise InputError("seen")

    monkeypatch.setattr(pool, "simulated", simulated)
    task, before = build_task(recipe), torch.get_num_threads()
    scenes = open_scenes(recipe, task, recipe.data.train)
    torch.set_num_threads(3)
    try:
        with pytest.raises(InputError, match="seen"):
            simulate_group(recipe, task, scenes, 0)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert threads == [1]


def test_filling_the_pool_can_be_stopped(recipe: Recipe) -> None:
    windows, made = counting(recipe)
    windows.stopped = lambda: "SIGINT" if len(made) == 3 else None
    with pytest.raises(InterruptedRun, match="SIGINT while windows were simulated"):
        windows.at(0)
    assert made == [0, 1, 2]


def test_a_worker_that_dies_is_an_error(recipe: Recipe, tmp_path: Path) -> None:
    def kill(step: int, steps: int, figures: dict[str, float]) -> None:
        multiprocessing.active_children()[0].kill()

    with pytest.raises(OutputError, match="ended with exit code -9"):
        train(recipe, tmp_path / "run", workers=2, progress=kill)
    assert not multiprocessing.active_children()


def test_what_a_worker_meets_is_told(recipe: Recipe) -> None:
    source = recipe.data.train[0].model_copy(update={"window": (0, 0, 10, 10)})
    recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"train": [source]})})
    with simulating(recipe, 1) as simulate, pytest.raises(InputError, match="fewer than a training window"):
        simulate(0)


def test_workers_without_a_pool_are_refused(recipe: Recipe, tmp_path: Path) -> None:
    given = ["train", str(tmp_path / "recipe.yaml"), "-o", str(tmp_path / "run"), "--device", "cpu"]
    result = CliRunner().invoke(cli, [*given, "--workers", "2", "--set", "training.reuse=1"])
    assert result.exit_code == OptionError.exit_code
    assert "training.reuse above 1" in result.stderr
    assert not (tmp_path / "run").exists()
