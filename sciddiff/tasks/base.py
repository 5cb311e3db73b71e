"""What a task is: the only place where image problems differ."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Generator, Tensor

Instrument = Mapping[str, Sequence[float]]
"""Measured numbers of an instrument by name: one for all bands, or one a band."""


@dataclass(frozen=True)
class Input:
    """One input image of a task: its bands, and how many target pixels lie along one of its own."""

    name: str
    bands: tuple[str, ...]
    ratio: int


@dataclass(frozen=True)
class Observation:
    """What was measured, as tensors.

    Attributes
    ----------
    inputs
        Images by name, (b, c, h, w), each on its own grid.
    instrument
        Numbers of the forward model by name, (b, ...): given, or the nominal ones where unknown.
    numbers
        The same as the network sees them, (b, n): zero with a zero flag where unknown.
    """

    inputs: Mapping[str, Tensor]
    instrument: Mapping[str, Tensor]
    numbers: Tensor


@dataclass(frozen=True)
class Condition:
    """What the engine needs beside the base estimate, on the target grid.

    Attributes
    ----------
    scale
        Local scale s of the residual, (b, c, h, w).
    maps
        What the network sees of the inputs, (b, k, h, w).
    """

    scale: Tensor
    maps: Tensor


class Task(Protocol):
    """A restoration problem: x is sought on the target grid, `inputs` were measured.

    Every operator is local; `radius` bounds, in target pixels, how far `project(base + scale * D)` looks,
    without the network.
    """

    inputs: tuple[Input, ...]
    bands: tuple[str, ...]
    radius: int
    stride: int
    """Target pixels to which windows are aligned so that all grids are cut at whole pixels."""
    maps: int
    """Channels of `Condition.maps`."""
    numbers: int
    """Length of `Observation.numbers`."""
    categorical: bool
    """Whether class images (palettes) may pass."""

    def observe(self, inputs: Mapping[str, Tensor], instrument: Instrument | None = None) -> Observation:
        """Join measured images with the numbers of a measured instrument; those not given are the nominal ones."""
        ...

    def simulate(self, clean: Tensor, generator: Generator | None, *, instrument_dropout: float = 0.0) -> Observation:
        """Degrade clean scenes (b, c, h, w) by instruments drawn at random; by the nominal one without a generator."""
        ...

    def base(self, obs: Observation) -> Tensor:
        """Whatever is linear: the cheap estimate that the network corrects."""
        ...

    def condition(self, obs: Observation, base: Tensor) -> Condition:
        """Scale of the residual and the maps that the network sees."""
        ...

    def project(self, x: Tensor, obs: Observation) -> Tensor:
        """Nearest estimate that agrees with the measurement."""
        ...

    def baselines(self) -> Mapping[str, Callable[[Observation], Tensor]]:
        """Classical answers by name."""
        ...
