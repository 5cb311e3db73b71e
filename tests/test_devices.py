"""Every shipped recipe's task on an accelerator: a pretend one, which gives the CPU's bits, and a real one if there is.

What runs there has a tiny network, and scenes and images made in code.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from sciddiff import io
from sciddiff.diffusion import SAMPLERS
from sciddiff.errors import InterruptedRun
from sciddiff.evaluation import compare
from sciddiff.inference import workers
from sciddiff.model import Model, build, load, write
from sciddiff.model.request import Guidance
from sciddiff.recipe import load_recipe
from sciddiff.recipe.catalogue import sample_path, shipped_recipes
from sciddiff.recipe.schema import Recipe
from sciddiff.tasks import Input, Task
from sciddiff.tasks.base import NEIGHBOUR
from sciddiff.training import halo, loop
from sciddiff.training.patches import Prefetched, channels, keeps_levels
from sciddiff.training.validation import calibration, score
from sciddiff.training.windows import Fresh
from tests.fake_accelerator import is_there, pretended
from tests.laws.stacks import stack_file
from tests.synthesis import cells, image_of, toy

pytestmark = pytest.mark.filterwarnings("ignore:.* than Nyquist of the optics", "ignore:planes are .* apart")

Numbers = Mapping[str, Any]
SIDE, WIDE = 48, 72
"""Of scenes and of images in target pixels: whole pixels of all ratios."""
ALIKE = {"label_structure", "pansharpen_generic_x4", "sharpen_sentinel2_20m", "sr_aerial_x4", "sr_landsat_x2"}
NAMES = sorted(set(shipped_recipes()) - ALIKE)
"""Recipes of every task: those whose settings are of another kind, too."""
OVERRIDES = (
    *("network.widths=[8, 8]", "network.encoder_blocks=[0, 1]", "network.denoiser_blocks=[0, 1]", "network.stem=2"),
    *("network.embedding=8", "training.batch=3", f"training.patch={SIDE}", "training.start=null"),
)


def small(name: str) -> Recipe:
    """A shipped recipe with a tiny network, and what a training measures before its first step."""
    recipe = load_recipe(shipped_recipes()[name], overrides=OVERRIDES)
    told: dict[str, dict[str, Any]] = {
        "synthesis": {"centre": [0.5] * len(recipe.bands), "georeferenced": False, "pixel_size": None},
        "remove_clouds": {"detector": None},
        "translate": {"linear": [[0.3] * len(recipe.bands) + [0.1]]},
    }
    task = recipe.task.model_copy(update=told.get(recipe.task.kind, {}))
    return recipe.model_copy(update={"task": task})


def acting(model: Model) -> Model:
    """The model with weights that act in place of the zeros of a fresh one."""
    source = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter += (0.1 * torch.randn(parameter.shape, generator=source)).to(parameter)
    return model


def scenes(task: Task, count: int) -> NDArray[np.float32]:
    """Smooth ones, (count, channels, side, side), with squares for labels, and facts."""
    rng = np.random.default_rng(0)
    rough = rng.standard_normal((count, channels(task), SIDE, SIDE)).cumsum(2).cumsum(3)
    smooth = (rough - rough.mean((2, 3), keepdims=True)) / rough.std((2, 3), keepdims=True)
    if keeps_levels(task):
        smooth = 0.2 + 0.05 * smooth
    first = channels(task) - task.labels - len(task.facts)
    smooth[:, first : first + task.labels] = squares(rng.integers(0, 3, (count, task.labels, 6, 6)))
    smooth[:, first + task.labels :] = 1
    return smooth.astype(np.float32)


def squares(values: NDArray[Any], side: int = SIDE) -> NDArray[Any]:
    return values.repeat(side // 6, -1).repeat(side // 6, -2)


class Batches:
    """In place of those that are drawn from files."""

    def __init__(self, task: Task):
        self.clean = scenes(task, 3)

    def batch(self, step: int) -> NDArray[np.float32]:
        return np.roll(self.clean, 5 * step, -1)


# ---- what runs on a device ----


def train(name: str, device: str, folder: Path) -> Numbers:
    """The covariance and two steps."""
    state = loop.start(small(name), device)
    batches = Fresh(state.model, cast("Prefetched", Batches(state.model.task)))
    state.model = replace(acting(state.model), residual_root=loop.covariance_root(state.model, batches))
    losses = [loop.step_once(state, batches)[1].cpu().numpy() for _ in range(2)]
    weights = {key: value.cpu().numpy() for key, value in state.average.weights.items()}
    return {"root": state.model.residual_root.cpu().numpy(), "losses": losses, **weights}


def validate(name: str, device: str, folder: Path) -> Numbers:
    """All that is measured of a model."""
    model = acting(build(small(name), device=device))
    windows = [torch.from_numpy(scenes(model.task, 1)).to(model.device)]
    return {**score(model, windows), "calibration": calibration(model, windows), **halo.halo_table(model)}


def baselines(name: str, device: str, folder: Path) -> Numbers:
    """What the task's baselines make of one window."""
    task = build(small(name), device=device).task
    obs = task.simulate(torch.from_numpy(scenes(task, 1)), None)  # noise from a seed is other noise on each device
    there = replace(
        obs,
        inputs={key: value.to(device) for key, value in obs.inputs.items()},
        instrument={key: value.to(device) for key, value in obs.instrument.items()},
        numbers=obs.numbers.to(device),
    )
    return {key: method(there).cpu().numpy() for key, method in task.baselines().items()}


def predict(name: str, device: str, folder: Path) -> Numbers:
    """The mean and a sample of three steps, from a file of weights."""
    write(replace(acting(build(small(name))), record={"halo": {"16": 0.0}}), folder / "model.safetensors")
    model = load(folder / "model.safetensors", device=device)
    first, *others = model.task.inputs
    if model.task.depth_ratio is None:
        image: Any = some_image(model.task, first).values
    else:
        image = io.open(stack_file(folder / "stack.ome.tif", (1, 1, 3, 20, 28), "float32")).load()
    inputs = {spec.name: some_image(model.task, spec) for spec in others if spec.name != NEIGHBOUR}
    found = model.predict(image, inputs=inputs, steps=3, tile=WIDE)
    return {key: value.values for key, value in found.items()}


def some_image(task: Task, spec: Input) -> xr.DataArray:
    """For an input of a task: reflectance, or squares of labels."""
    rng = np.random.default_rng(0)
    shape, side = (len(spec.bands), 6, 6), WIDE // spec.ratio
    if spec.is_labels or spec.is_mask:
        values = squares((rng.random(shape) < 0.3).astype(np.uint8), side)
    else:
        values = 0.2 + 0.02 * rng.standard_normal((len(spec.bands), side, side)).astype(np.float32)
    grid = GeoBox(values.shape[1:], Affine.scale(spec.ratio / task.inputs[0].ratio), None)
    return io.from_array(values, grid=grid, bands=list(spec.bands))


RUNS = (train, validate, baselines, predict)


def same(one: Numbers, other: Numbers) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        np.testing.assert_array_equal(other[name], value, err_msg=name)


# ---- on a pretend accelerator ----


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few batches for a covariance, one small halo."""
    monkeypatch.setattr(loop, "CALIBRATION_BATCHES", 2)
    for name, value in {"SIZES": (16,), "SIDE": 192, "CORE": 32}.items():
        monkeypatch.setattr(halo, name, value)


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("name", NAMES)
def test_an_accelerator_gives_the_bits_of_the_cpu(
    name: str, run: Callable[[str, str, Path], Numbers], tmp_path: Path
) -> None:
    expected = run(name, "cpu", tmp_path)
    with pretended():
        found = run(name, "cuda", tmp_path)
    same(expected, found)


@pytest.mark.parametrize("name", NAMES)
def test_simulations_stay_on_the_accelerator_whatever_they_draw(name: str) -> None:
    """Many branches of a simulation are drawn."""
    task = build(small(name)).task
    clean = torch.from_numpy(scenes(task, 2))

    def simulated(device: str, seed: int) -> Iterator[tuple[str, torch.Tensor]]:
        source = torch.Generator(device).manual_seed(seed)
        obs = task.simulate(clean.to(device), source, instrument_dropout=0.3)
        yield from [*obs.inputs.items(), *obs.instrument.items(), ("numbers", obs.numbers), ("trust", task.trust(obs))]

    for seed in range(5):
        expected = dict(simulated("cpu", seed))
        with pretended():
            found = dict(simulated("cuda", seed))
        assert all(is_there(value) for value in found.values())
        same(expected, found)


@pytest.mark.parametrize("method", SAMPLERS)
def test_guidance_and_changes_of_images_on_an_accelerator(method: str) -> None:
    inputs = {"image": image_of(np.random.default_rng(5).gamma(2, 200, (1, 46, 53)), ["nuclei"])}
    inputs["region"] = image_of((np.indices((46, 53)).sum(0) % 20 < 12).astype(np.uint8), ["region"])
    asked = {"image_class": (1.0,), "gsd": (30.0,)}
    guided: Any = [Guidance(2.0, (0.2, 3.0)), Guidance(1.5, negative={"image_class": (0.0,)})]

    def made(device: str) -> Numbers:
        model = toy().to(device)
        model = replace(model, recipe=model.recipe.model_copy(update={"sampler": sampler}))
        results = [model.predict(cells(), guidance=each, instrument=asked) for each in guided]
        results += [model.predict(cells(), inputs=inputs, strength=each) for each in (1.0, 0.4)]
        return {str(number): found["sample"].values for number, found in enumerate(results)}

    sampler = toy().recipe.sampler.model_copy(update={"steps": 3, "method": method})
    expected = made("cpu")
    with pretended():
        found = made("cuda")
    same(expected, found)


@pytest.mark.filterwarnings("ignore:bands that the model does not know")
@pytest.mark.parametrize("name", ["dehaze", "sr_sentinel2_x4"])
def test_a_comparison_on_an_accelerator(name: str) -> None:
    image = io.open(sample_path()).isel(y=slice(0, 120), x=slice(0, 120)).load()

    def scores(device: str) -> str:
        return str(compare(acting(build(small(name), device=device)), image, steps=2).scores)

    expected = scores("cpu")
    with pretended():
        assert scores("cuda") == expected


def test_a_stopped_run_continues_on_an_accelerator(tmp_path: Path) -> None:
    changes = (*OVERRIDES[:-2], "training.patch=16", "training.steps=4", "training.warmup=1", "data.valid=[]")
    source = f"data.train=[{{path: {sample_path()}, bands: [B02, B03, B04, B08]}}]"
    recipe = load_recipe(shipped_recipes()["sr_sentinel2_x4"], overrides=(*changes, source))

    def weights(path: Path) -> Numbers:
        return dict(load(path).network.state_dict())

    expected = weights(loop.train(recipe, tmp_path / "cpu"))
    with pretended():
        with pytest.raises(InterruptedRun):
            loop.train(recipe, tmp_path / "parts", max_seconds=0, device="cuda")
        same(expected, weights(loop.train(recipe, tmp_path / "parts", device="cuda")))


def test_workers_all_took_the_first_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)

    def devices(name: str) -> list[str]:
        model: Any = SimpleNamespace(device=torch.device(name))
        return [workers._device(model, number) for number in range(4)]

    assert devices("cuda:0") == ["cuda:0", "cuda:1", "cuda:2", "cuda:0"]
    assert devices("cuda:1") == ["cuda:1", "cuda:2", "cuda:0", "cuda:1"]
    assert devices("cpu") == ["cpu"] * 4


# ---- the pretence itself ----


REFUSED: dict[str, Callable[[torch.Tensor], object]] = {
    "same device": lambda there: there + torch.zeros(3),
    "cuda:0 and cpu": lambda there: torch.ones(3) * there.sum(),
    "stack": lambda there: torch.stack([there.sum(), torch.zeros(())]),
    "__setitem__": lambda there: there.__setitem__(torch.tensor([0, 1]), torch.zeros(2)),
    "getitem": lambda there: torch.zeros(3)[there > 0],
    "linear": lambda there: torch.nn.Linear(3, 1)(there),
    "numpy; use": lambda there: np.asarray(there[1:]),
    "to numpy": lambda there: there.numpy(),
    "'cpu' device type": lambda there: torch.rand(2, generator=torch.Generator(there.device)),
    "'cuda:0' device type": lambda there: torch.poisson(there, generator=torch.Generator()),
}


@pytest.mark.parametrize("message", REFUSED)
def test_the_pretence_refuses_what_cuda_does(message: str) -> None:
    with pretended():
        there = torch.from_numpy(np.ones(3, np.float32)).to("cuda")
        with pytest.raises((RuntimeError, TypeError), match=message):
            REFUSED[message](there)


def test_the_pretence_takes_what_cuda_does() -> None:
    here = torch.arange(3.0)
    with pretended():
        there = here.to("cuda")
        assert not is_there(here)
        there += 1
        assert here.tolist() == [0, 1, 2]
        layer = torch.nn.Linear(3, 1).to("cuda")
        layer(there).sum().backward()
        gradient = layer.weight.grad
        assert gradient is not None
        kept = [there * torch.ones(()), there[torch.tensor([0])], torch.zeros_like(there), there[:2].double(), gradient]
        assert all(each.device == torch.device("cuda:0") and each.is_cuda for each in kept)
        there[1:] = torch.zeros(2)
        here.copy_(there)
        assert here.tolist() == [1, 0, 0]
        assert not any(map(is_there, (here, there.cpu(), there.to(here), torch.zeros(2))))
    assert there.device.type == "cpu"


# ---- on a real one ----


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("name", NAMES)
def test_a_real_accelerator_gives_nearly_what_the_cpu_does(
    name: str, run: Callable[[str, str, Path], Numbers], tmp_path: Path
) -> None:
    expected, found = (run(name, device, tmp_path) for device in ("cpu", "cuda"))
    assert expected.keys() == found.keys()
    for key, value in expected.items():
        assert np.array_equal(np.isfinite(found[key]), np.isfinite(value)), key
        if run in (baselines, predict):
            spread = max(float(np.nanstd(value)), 1e-6)
            np.testing.assert_allclose(found[key], value, rtol=0, atol=0.05 * spread, err_msg=key)
