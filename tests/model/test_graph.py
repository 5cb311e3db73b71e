"""A model as one graph: equal to the engine, for any number of images of any size, on any device."""

import io
import warnings

import pytest
import torch

from sciddiff.errors import OptionError
from sciddiff.model import Model, build, restore
from sciddiff.model.graph import MeanGraph, input_unit, run_torchscript, to_torchscript
from sciddiff.recipe import parse_recipe

NETWORK = "network: {widths: [8, 12], encoder_blocks: [1, 1], denoiser_blocks: [1, 1], stem: 2, embedding: 16}"
VISIBLE = "[blue, green, red, nir]"
RECIPES = {
    "super_resolution": ("{kind: super_resolution, ratio: 4}", "[a, b]"),
    "super_resolution_x3": ("{kind: super_resolution, ratio: 3}", "[a]"),
    "dehaze": ("{kind: dehaze}", VISIBLE),
    "cloud_mask": ("{kind: cloud_mask}", VISIBLE),
    "destripe": ("{kind: destripe}", "[a, b]"),
    "denoise": ("{kind: denoise}", "[signal]"),
    "pansharpen": ("{kind: pansharpen, ratio: 2}", "[red, green]"),
}


TOLD = {"denoise": {"gain": (0.01,), "variance": (1e-4,)}}
"""Numbers without which a task does not work."""


def random_model(name: str) -> Model:
    """A network whose every weight acts: the zeros of a fresh one are filled."""
    task, bands = RECIPES[name]
    text = f"version: 1\nname: small\ntask: {task}\nbands: {bands}\n{NETWORK}\ntraining: {{patch: 96}}\n"
    model = build(parse_recipe(text))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model


def images(model: Model, count: int, *, units: tuple[int, int]) -> torch.Tensor:
    unit = input_unit(model)
    shape = (count, len(model.task.inputs[0].bands), units[0] * unit, units[1] * unit)
    return 0.1 + 0.2 * torch.rand(shape, generator=torch.Generator().manual_seed(count))


def restored(model: Model, image: torch.Tensor, **instrument: tuple[float, ...]) -> torch.Tensor:
    obs = model.task.observe({model.task.inputs[0].name: image}, instrument)
    return next(restore(model, obs, origins=[(0, 0)] * len(image)))


@pytest.mark.parametrize("name", [name for name in RECIPES if name != "pansharpen"])
def test_the_graph_and_its_trace_give_what_the_engine_gives(name: str):
    model, told = random_model(name), TOLD.get(name, {})
    graph = MeanGraph(model, told)
    weights = to_torchscript(graph, images(model, 1, units=(6, 8)))
    for count, units in ((1, (6, 8)), (1, (9, 5)), (3, (5, 6))):
        image = images(model, count, units=units)
        expected = restored(model, image, **told)
        with torch.inference_mode():
            torch.testing.assert_close(graph(image), expected, rtol=0, atol=1e-5)
        torch.testing.assert_close(run_torchscript(weights, image), expected, rtol=0, atol=1e-5)


def test_the_network_acts_in_the_graph():
    model = random_model("super_resolution")
    image = images(model, 1, units=(6, 8))
    base = model.task.base(model.task.observe({"image": image}))
    with torch.inference_mode():
        assert float((MeanGraph(model)(image) - base).abs().max()) > 1e-3


def test_an_instrument_becomes_part_of_the_graph():
    model = random_model("super_resolution")
    image = images(model, 1, units=(6, 8))
    told = {"mtf": (0.2, 0.35), "noise": (0.01,)}
    found = run_torchscript(to_torchscript(MeanGraph(model, told), image), image)
    torch.testing.assert_close(found, restored(model, image, **told), rtol=0, atol=1e-5)
    assert float((found - restored(model, image)).abs().max()) > 1e-4


@pytest.mark.parametrize("name", ["super_resolution", "dehaze", "cloud_mask", "destripe", "denoise"])
def test_no_operation_of_the_trace_is_tied_to_a_device(name: str):
    model = random_model(name)
    weights = to_torchscript(MeanGraph(model, TOLD.get(name)), images(model, 1, units=(6, 8)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        graph = torch.jit.load(io.BytesIO(weights)).inlined_graph
    constants = graph.findAllNodes("prim::Constant")
    assert constants
    assert not [node for node in constants if node.output().type().kind() == "DeviceObjType"]
    assert not graph.findAllNodes("aten::cpu")


def test_a_task_of_several_inputs_is_refused_by_their_names():
    with pytest.raises(OptionError, match="takes pan beside its image"):
        MeanGraph(random_model("pansharpen"))


def test_an_instrument_that_the_task_does_not_know_is_refused():
    with pytest.raises(OptionError, match="knows no 'gain'"):
        MeanGraph(random_model("super_resolution"), {"gain": (1.0,)})
