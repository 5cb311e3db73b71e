"""What a task is: the only place where image problems differ."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from torch import Generator, Tensor

Instrument = Mapping[str, Sequence[float]]
"""Measured numbers of an instrument by name: one for all bands, or one a band."""

LINEAR = "linear"
"""Name under which the base itself goes among the baselines of a task: what the network starts from, no opponent."""


@dataclass(frozen=True)
class Input:
    """One input of a task.

    Attributes
    ----------
    name
        The first input's is the main image; the others are given by name (`-i pan=PATH`), on the target grid.
    bands
        In the task's order.
    ratio
        Target pixels along one of its own; 1 for all but the main image.
    most
        How many images may be given under this name; their bands follow each other, absent ones are zero.
    required
        Whether at least one must be given.
    is_mask
        Whether its values are classes, of which only zero and not zero count.
    sets_grid
        Whether the target grid is its own, rather than the main image's made `ratio` times finer.
    is_labels
        Whether its values are names of objects or classes, which are never averaged; where invalid they are zero.
    """

    name: str
    bands: tuple[str, ...]
    ratio: int = 1
    most: int = 1
    required: bool = True
    is_mask: bool = False
    sets_grid: bool = False
    is_labels: bool = False

    @property
    def channels(self) -> int:
        """Channels of its tensor."""
        return len(self.bands) * self.most


def known_name(name: str) -> str:
    """Name under which the validity of an input goes, as a map of 0 and 1 of the same shape."""
    return f"{name}_known"


@dataclass(frozen=True)
class Observation:
    """What was measured, as tensors.

    Attributes
    ----------
    inputs
        Images by name, (b, c, h, w), each on its own grid, and whatever else is a map of the scene.
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


@dataclass(frozen=True)
class Edit:
    """An image that is to be changed, on the target grid.

    Attributes
    ----------
    start
        The image in the space of `base`, (b, c, h, w).
    keep
        Where it stays as it is, (b, 1, h, w), bool.
    """

    start: Tensor
    keep: Tensor


class Task(Protocol):
    """A restoration problem: x is sought on the target grid, `inputs` were measured.

    Every operator is local; `radius` bounds, in target pixels, how far `project(base + scale * D)` looks,
    without the network.
    """

    inputs: tuple[Input, ...]
    bands: tuple[str, ...]
    """Of the result: the main image's, or the task's own where the result is another quantity."""
    radius: int
    stride: int
    """Target pixels to which windows are aligned so that all grids are cut at whole pixels."""
    maps: int
    """Channels of `Condition.maps`."""
    numbers: int
    """Length of `Observation.numbers`."""
    categorical: bool
    """Whether class images (palettes) may pass."""
    scene_bands: tuple[str, ...]
    """Channels of a clean scene: the main image's bands, and what else `simulate` must know of it, such as the
    panchromatic band."""
    absolute: bool
    """Whether the physical values count (reflectance), and not only their contrast."""
    margin: int
    """How far around a pixel, in target pixels, `valid` looks."""
    reach: int
    """How far, in target pixels, holes can make the task look: no halo measured on one scene is narrower than that."""
    extras: Mapping[str, tuple[str, ...]]
    """Further results by name, and their bands."""
    classes: Mapping[str, Mapping[int, tuple[int, int, int, int]]]
    """Of these, the ones whose values are classes, and the colour of each class."""
    channelwise: bool
    """Whether a model of one band takes each channel of an image for itself, whatever its name."""
    neighbours: tuple[str, int] | None
    """The axis of a stack, `z` or `t`, along which a plane sees others as its input `neighbour`, and how many on each
    side; None: each plane is restored for itself."""
    depth_ratio: int | None
    """Planes of the result for one of the stack, for a task that sees sections along depth, planes as rows; None: it
    sees planes."""
    takes_noisy: bool
    """Whether `simulate` may be given, after the scene bands, what was really measured of the scene."""
    counts_electrons: bool
    """Whether what was really measured comes in electrons, and may stand alone; else in levels of its reference."""
    levelled: bool
    """Whether all channels of a scene come in levels of its file: zero in the dark, one in bright structures."""
    cheap: tuple[str, ...]
    """Baselines quick enough to be scored at every validation of a training, those that there are."""
    labels: int
    """Scene bands after those of the image whose values are labels, and never averaged."""
    facts: tuple[str, ...]
    """Last scene bands, each one number for a whole scene, NaN where it is not known."""
    generative: bool
    """Whether nothing of the result was measured: the product is one of many images that could be."""
    detector: str | None
    """What finds the inputs `mask` and `date_mask` where they are not given, see `model.detect`; None: nothing."""
    left_over: str
    """Of a task that fills gaps: which ones stay, and what can be done about these; of others nothing."""

    def valid(self, known: Mapping[str, NDArray[np.bool_]]) -> NDArray[np.bool_]:
        """Say which target pixels get a value, (c, h, w).

        Parameters
        ----------
        known
            Validity of each given input, brought to the target grid, (channels, h, w); of a mask, where it is set.
        """
        ...

    def check(self, image: xr.DataArray, others: Mapping[str, Sequence[xr.DataArray]]) -> None:
        """Refuse images that fit by bands and grids but mean something else, such as digital numbers for reflectance.

        Raises
        ------
        InputError
            They do.
        """
        ...

    def survey(
        self,
        image: xr.DataArray,
        others: Mapping[str, Sequence[xr.DataArray]] | None = None,
        told: Instrument | None = None,
    ) -> Instrument:
        """Numbers of the instrument that the whole image or stack tells, found before the first window.

        Parameters
        ----------
        image
            (band, [t, z,] y, x), lazy.
        others
            The other inputs by name.
        told
            What the user tells: it goes before what is found, which is found in its light.

        Returns
        -------
        dict
            One number a band by name.
        """
        ...

    def observe(self, inputs: Mapping[str, Tensor], instrument: Instrument | None = None) -> Observation:
        """Join measured images with the numbers of a measured instrument; those not given are the nominal ones.

        Parameters
        ----------
        inputs
            By name, (b, channels, h, w), finite; the validity of each goes under `known_name`.
        instrument
            Numbers by name. `offset` is no property of the instrument but of the grids: the target pixels (row, column)
            by which the main image's first pixel begins before the window.
        """
        ...

    def simulate(self, clean: Tensor, generator: Generator | None, *, instrument_dropout: float = 0.0) -> Observation:
        """Degrade clean scenes (b, c, h, w) by instruments drawn at random; by the nominal one without a generator."""
        ...

    def truth(self, clean: Tensor, obs: Observation) -> Tensor:
        """What is sought of a clean scene of which `simulate` made `obs`, (b, bands, h, w)."""
        ...

    def trust(self, obs: Observation) -> Tensor:
        """How much the truth of each window counts, (b,): one where it is exact; below, where it has noise of its own,
        so that only its mean can be learned."""
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

    def degrade(self, high: Tensor, obs: Observation) -> Tensor | None:
        """What the main image would be of the scene `high`, without noise; None where that is not known."""
        ...

    def extra_results(self, x: Tensor, obs: Observation) -> Mapping[str, Tensor]:
        """Maps that go with the finished posterior mean `x`, (b, bands, h, w) by the names of `extras`."""
        ...

    def baselines(self) -> Mapping[str, Callable[[Observation], Tensor]]:
        """Classical answers by name."""
        ...

    def unconditional(self, obs: Observation) -> Observation | None:
        """The observation with every condition hidden, where the task has any that may be."""
        ...

    def edited(self, obs: Observation) -> Edit | None:
        """The image that is to be changed rather than made, if one was given."""
        ...


CHANGED = "image"
"""The input of a generative task that holds an image which is to be changed rather than made."""
NEIGHBOUR = "neighbour"
"""The input that holds the planes next to one of a stack."""


def planes_beside(neighbours: tuple[str, int] | None) -> int:
    """How many planes a task sees beside the one that it restores."""
    return 0 if neighbours is None else 2 * neighbours[1]


class OneImage:
    """What is so unless a task says otherwise: one image of any unit in, pixels where it has some, nothing beside."""

    categorical = False
    absolute = False
    margin = 0
    reach = 0
    extras: Mapping[str, tuple[str, ...]] = {}
    classes: Mapping[str, Mapping[int, tuple[int, int, int, int]]] = {}
    channelwise = False
    neighbours: tuple[str, int] | None = None
    depth_ratio: int | None = None
    takes_noisy = False
    counts_electrons = False
    levelled = False
    cheap: tuple[str, ...] = (LINEAR,)
    labels = 0
    facts: tuple[str, ...] = ()
    generative = False
    detector: str | None = None
    left_over: str = ""
    inputs: tuple[Input, ...]
    bands: tuple[str, ...]

    def valid(self, known: Mapping[str, NDArray[np.bool_]]) -> NDArray[np.bool_]:
        """Where the main image is."""
        return known[self.inputs[0].name]

    def check(self, image: xr.DataArray, others: Mapping[str, Sequence[xr.DataArray]]) -> None:
        """Any values will do."""

    def survey(
        self,
        image: xr.DataArray,
        others: Mapping[str, Sequence[xr.DataArray]] | None = None,
        told: Instrument | None = None,
    ) -> Instrument:
        """Nothing."""
        return {}

    def unconditional(self, obs: Observation) -> Observation | None:
        """There are no conditions to hide."""
        return None

    def edited(self, obs: Observation) -> Edit | None:
        """No image is changed: one is restored."""
        return None

    def truth(self, clean: Tensor, obs: Observation) -> Tensor:
        """The scene itself, in the bands of the result."""
        return clean[:, : len(self.bands)]

    def trust(self, obs: Observation) -> Tensor:
        """Every truth is exact."""
        image = obs.inputs[self.inputs[0].name]
        return image.new_ones(len(image))

    def degrade(self, high: Tensor, obs: Observation) -> Tensor | None:
        """The scene itself."""
        return high

    def extra_results(self, x: Tensor, obs: Observation) -> Mapping[str, Tensor]:
        """None."""
        return {}
