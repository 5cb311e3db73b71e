"""A model's posterior mean as one graph of torch: the image goes in as it is, what `restore` gives comes out.

The instrument's numbers are constants of the graph, so that it has a single input.
"""

import io
import math
import warnings
from dataclasses import replace

import torch
from torch import Tensor, nn

from sciddiff.errors import OptionError
from sciddiff.model.engine import Restorer, mix_bands
from sciddiff.model.windows import unit_of
from sciddiff.tasks import Instrument, Observation


class MeanGraph(nn.Module):
    """Posterior mean of images (b, c, h, w), one window each; equal to `restore` at one step.

    Parameters
    ----------
    model
        Of a task with one input, on the CPU.
    instrument
        Measured numbers of the instrument by name; the nominal ones where not given.

    Raises
    ------
    OptionError
        Where the task takes several inputs, or does not know such an instrument.
    """

    root: Tensor

    def __init__(self, model: Restorer, instrument: Instrument | None = None):
        super().__init__()
        refuse_several_inputs(model)
        self.task, self.network = model.task, model.network
        self.register_buffer("root", model.residual_root.float())
        side = unit_of(self.task.stride, self.network.stride)
        self.told = instrument or {}
        known = self._observe(torch.zeros(1, self.task.inputs[0].channels, side, side))
        self.instrument, self.numbers = known.instrument, known.numbers

    def _observe(self, image: Tensor) -> Observation:
        return self.task.observe({self.task.inputs[0].name: image}, self.told)

    def forward(self, image: Tensor) -> Tensor:
        """Restore images.

        Parameters
        ----------
        image
            (b, c, h, w), float32, finite, in physical units; sides multiples of `input_unit`.

        Returns
        -------
        Tensor
            (b, bands, h ratio, w ratio).
        """
        # one instrument for all images: its numbers keep a batch of one, so that a trace holds them as constants
        obs = replace(self._observe(image), instrument=self.instrument, numbers=self.numbers)
        base = self.task.base(obs)
        condition = self.task.condition(obs, base)
        encoded = self.network.encode(condition.maps, obs.numbers)
        angle = torch.full((1,), math.pi / 2)
        residual = self.network(torch.zeros_like(base), angle, encoded)
        change = condition.scale * mix_bands(self.root, residual)
        return self.task.project(torch.where(change == 0, base, base + change), obs)


def refuse_several_inputs(model: Restorer) -> None:
    """Raise unless the task takes one image and nothing else.

    Raises
    ------
    OptionError
        It takes more.
    """
    main, *others = model.task.inputs
    if others or main.most > 1:
        names = ", ".join(spec.name for spec in others) or f"up to {main.most} images as {main.name}"
        raise OptionError(f"the model takes {names} beside its image; only a model of one image becomes one graph")


def input_unit(model: Restorer) -> int:
    """Pixels of the image whose multiples the sides of a graph's input must be."""
    return unit_of(model.task.stride, model.network.stride) // model.task.inputs[0].ratio


def to_torchscript(graph: MeanGraph, example: Tensor) -> bytes:
    """Trace a graph as TorchScript for any number of images, of any size, on any device.

    Parameters
    ----------
    graph
        On the CPU.
    example
        An image as the graph takes it.

    Returns
    -------
    bytes
        What `torch.jit.load` reads.
    """
    stream = io.BytesIO()
    with warnings.catch_warnings():
        # that the instrument's numbers become constants is meant; TorchScript is what model zoos run
        warnings.simplefilter("ignore")
        traced = torch.jit.freeze(torch.jit.trace(graph.eval(), example, check_trace=False))
        _follow_device(traced.graph)
        torch.jit.save(traced, stream)
    return stream.getvalue()


def run_torchscript(weights: bytes, image: Tensor) -> Tensor:
    """What a saved graph makes of images (b, c, h, w)."""
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore", DeprecationWarning)
        result: Tensor = torch.jit.load(io.BytesIO(weights))(image)
    return result


def _follow_device(graph: torch.Graph) -> None:
    """Let operations that a trace has tied to the CPU run where the image is."""
    _, image = graph.inputs()  # the module itself comes first
    constants = graph.findAllNodes("prim::Constant")  # type: ignore[attr-defined] # not in torch's stubs
    fixed = [node for node in constants if node.output().type().kind() == "DeviceObjType"]
    if fixed:
        own = graph.create("prim::device", [image], 1)
        graph.prependNode(own)
        own.output().setType(fixed[0].output().type())
        for node in fixed:
            node.output().replaceAllUsesWith(own.output())
