"""What a recipe may say: the models that check it, and from which its JSON schema and documentation are made."""

import math
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, PrivateAttr, Tag

from sciddiff.errors import RecipeError
from sciddiff.recipe.files import find_rasters
from sciddiff.recipe.section import BandKey, Count, Faults, Name, Positive, Section, Share, Window, bare_path, repeated
from sciddiff.recipe.tasks import (
    CloudMask,
    Deconvolve,
    Dehaze,
    DehazeWidefield,
    Denoise,
    Destripe,
    FillGaps,
    Isotropic,
    Pansharpen,
    RemoveClouds,
    SuperResolution,
    Synthesis,
    Translate,
)


def _kind_of_offset(value: Any) -> str:
    return "per band" if isinstance(value, (list, tuple)) else "one number"


Offset = Annotated[float, Tag("one number")]
Offsets = Annotated[list[float], Field(min_length=1), Tag("per band")]
Task = Annotated[
    SuperResolution
    | Pansharpen
    | RemoveClouds
    | CloudMask
    | Dehaze
    | FillGaps
    | Destripe
    | Denoise
    | Isotropic
    | Deconvolve
    | DehazeWidefield
    | Translate
    | Synthesis,
    Field(discriminator="kind"),
]


class Guide(Section):
    """Where the further bands of a source's scenes come from, such as the panchromatic band."""

    path: Name | None = None
    """A raster of the same place, brought to the source's grid by averaging; null: the source itself."""
    bands: Annotated[list[BandKey], Field(min_length=1)]
    """Its band names or 1-based numbers, in the order in which the task wants them."""
    weights: Annotated[list[float], Field(min_length=1)] | None = None
    """Mixes the bands into one by these weights: a panchromatic band where there is none."""

    def _faults(self) -> Faults:
        if self.weights is not None and len(self.weights) != len(self.bands):
            yield "weights", f"got {len(self.weights)} numbers, expected {len(self.bands)}: as many as bands"


class Source(Section):
    """Rasters to learn from."""

    path: Name
    """A file, a folder or a glob; `${NAME}` is an environment variable; relative to the recipe."""
    bands: Annotated[list[BandKey | None], Field(min_length=1)] | None = None
    """This source's own band names or 1-based numbers, in the order of the recipe's bands; null for an optional band
    that it lacks."""
    window: Window | None = None
    """`[row0, col0, row1, col1]` in pixels of the raster: the part that is used, to split by place."""
    coarsen: Annotated[list[Count], Field(min_length=1)] = [1]
    """Block-averaging factors, one drawn at random for each sample: other pixel sizes from the same raster."""
    weight: Positive = 1.0
    """How often it is drawn, relative to the other sources."""
    scale: Positive = 1.0
    """Physical value of a stored step, for tasks that need reflectance and files that do not say it."""
    offset: Annotated[Offset | Offsets, Discriminator(_kind_of_offset)] = 0.0
    """Physical value of a stored zero, likewise; one for all, or one a band in the order of the recipe's bands, such as
    the light of the air that a clear scene at the top of the atmosphere holds."""
    gain_spread: Share = 0.0
    """Brighter and darker places, and of another colour, from the same raster: standard deviation of the logarithm of a
    gain that each window is multiplied by; a band's own has half of that. For tasks that need reflectance."""
    guide: Guide | None = None
    """For tasks with further bands in their scenes."""
    noisy: Name | None = None
    """For denoising: a raster of the same pixels measured with little light, of which `path` is the reference; for
    dehaze_widefield: measured with light out of focus."""
    noisy_bands: Annotated[list[BandKey], Field(min_length=1)] | None = None
    """The bands of `noisy`, where they have other names or numbers than the source's."""
    noisy_only: bool = False
    """For denoising: the source itself is noisy and has no reference; it is learned from halves of its photons."""
    labels: Name | None = None
    """For synthesis: a raster of the same pixels with their labels."""
    label_rule: Literal["nuclei", "landcover"] | None = None
    """For synthesis: labels made of the image itself by a rule, where nobody has drawn any; see `sciddiff.labels`."""
    image_class: Name | None = None
    """For synthesis: one of the task's image_classes; null: not known."""
    numbers: dict[str, float] = {}
    """For synthesis: those of the task's numbers that are known of the images."""

    _folder: Path = PrivateAttr(default_factory=Path)
    _where: str = PrivateAttr(default="")

    def _faults(self) -> Faults:
        if self.window is not None and not (self.window[0] < self.window[2] and self.window[1] < self.window[3]):
            yield "window", f"got {list(self.window)}, expected [row0, col0, row1, col1], row0 < row1, col0 < col1"
        yield from repeated("coarsen", self.coarsen)
        yield from repeated("bands", self.bands or [])
        if self.noisy is not None and self.noisy_only:
            yield "noisy_only", "got it beside noisy, expected one of them: a source that has a reference is a pair"
        if self.noisy_bands is not None and self.noisy is None:
            yield "noisy_bands", "got it without noisy, expected it to name bands of a raster"
        if self.labels is not None and self.label_rule is not None:
            yield "label_rule", "got it beside labels, expected one of them: labels are drawn or made by a rule"

    def __eq__(self, other: object) -> bool:
        # Where it was written is no part of what it says.
        return isinstance(other, Source) and self.__dict__ == other.__dict__

    __hash__ = None  # type: ignore[assignment]

    def place(self, folder: Path, where: str) -> None:
        """
        Say where the source was written; `load_recipe` does.

        Parameters
        ----------
        folder : pathlib.Path
            What a relative path is relative to.
        where : str
            `file:line:column`, for messages.
        """
        self._folder, self._where = folder, where

    def files(self) -> list[Path]:
        """
        Find the rasters that are there now.

        Returns
        -------
        list of pathlib.Path
            Absolute paths, sorted; one or more.

        Raises
        ------
        RecipeError
            When an environment variable is not set or no raster is found.
        """
        try:
            return find_rasters(self.path, self._folder)
        except RecipeError as error:
            raise RecipeError(f"{self._where}: {error}" if self._where else str(error)) from None

    def guide_file(self) -> Path | None:
        """
        Find the guide's raster.

        Returns
        -------
        pathlib.Path or None
            None where it is the source itself.

        Raises
        ------
        RecipeError
            When there is none, or several.
        """
        return None if self.guide is None else self._one_file("guide.path", self.guide.path)

    def noisy_file(self) -> Path | None:
        """
        Find the raster measured with little light.

        Returns
        -------
        pathlib.Path or None
            None where there is no pair.

        Raises
        ------
        RecipeError
            When there is none, or several.
        """
        return self._one_file("noisy", self.noisy)

    def label_file(self, path: Path) -> Path | None:
        """
        Find the raster of labels of one of the source's files.

        Parameters
        ----------
        path : pathlib.Path
            Of the file: a folder or pattern of labels holds one with the same name.

        Returns
        -------
        pathlib.Path or None
            None where no labels were drawn.

        Raises
        ------
        RecipeError
            When there is none, or none with the file's name where there are several, of either.
        """
        if self.labels is None:
            return None
        found = find_rasters(self.labels, self._folder)
        same = [each for each in found if _stem(each) == _stem(path)]
        if len(same) == 1:
            return same[0]
        if len(found) == len(self.files()) == 1:
            return found[0]
        told = f"labels names {len(found)} rasters, {len(same) or 'none'} of them called {_stem(path)}"
        raise RecipeError(f"{self._where or self.path}: {told}; each of several images needs labels of its name")

    def _one_file(self, key: str, text: str | None) -> Path | None:
        if text is None:
            return None
        found = find_rasters(text, self._folder)
        if len(found) > 1:
            raise RecipeError(f"{self._where}: {key} names {len(found)} rasters, expected one")
        return found[0]


def _stem(path: Path) -> str:
    return re.sub(r"(\.ome)?\.[^.]*$", "", path.name)


SourceOrPath = Annotated[Source, BeforeValidator(bare_path, json_schema_input_type=str | Source)]


class Data(Section):
    """Where the training and validation images are. Split by place: no scene may stand in both."""

    train: list[SourceOrPath] = []
    """Sources that windows are drawn from."""
    valid: list[SourceOrPath] = []
    """Sources that the model is scored on while it trains."""


class Network(Section):
    """The local U-Net: a condition encoder that runs once and a light denoiser that runs every step."""

    widths: Annotated[list[Count], Field(min_length=1)] = [32, 96, 128]
    """Channels at each scale, finest first."""
    encoder_blocks: list[Annotated[int, Field(ge=0)]] = [1, 6, 2]
    """Residual blocks of the condition encoder at each scale."""
    denoiser_blocks: list[Annotated[int, Field(ge=0)]] = [1, 1, 1]
    """Residual blocks of the denoiser at each scale."""
    stem: Annotated[int, Field(ge=1, le=8)] = 2
    """Pixel-unshuffle factor before the finest scale."""
    embedding: Annotated[int, Field(ge=2, multiple_of=2)] = 128
    """Channels of the embedding of noise level and instrument."""
    dims: Literal[2, 3] = 2
    """How planes beside the restored one are seen: as channels (2), or as a volume (3), in which all pass the same
    blocks before 3 x 3 x 3 convolutions join them. 3 needs `task.neighbours`."""

    @property
    def stride(self) -> int:
        """High-resolution pixels that one pixel of the coarsest scale covers along an axis."""
        return int(self.stem * 2 ** (len(self.widths) - 1))

    def _faults(self) -> Faults:
        for key in ("encoder_blocks", "denoiser_blocks"):
            blocks = getattr(self, key)
            if len(blocks) != len(self.widths):
                yield key, f"got {len(blocks)} numbers, expected {len(self.widths)}: as many as widths"


class Diffusion(Section):
    """How noise levels are drawn in training."""

    sigma_median: Positive = 0.6
    """Median of the log-normal noise level, in units of the residual's standard deviation."""
    sigma_spread: Positive = 1.2
    """Standard deviation of the logarithm of the noise level."""
    regression_share: Share = 0.5
    """Share of a batch trained as a plain regressor: t = pi/2, state zero."""
    excess_share: Share = 0.0
    """Share of the other windows that hold more noise than their noise level says, as the states of a sampler of few
    steps do where hardly anything is left to know: samples of such places come out less rough."""
    instrument_dropout: Share = 0.3
    """How often the instrument's numbers are hidden, so that one model serves unknown instruments too."""


class Sampler(Section):
    """How samples are drawn where a command does not say."""

    steps: Annotated[int, Field(ge=1, le=1000)] = 1
    """Network evaluations of one sample: 1 is the posterior mean, more is a posterior sample."""
    method: Literal["angle", "dpmpp", "ddim", "heun"] = "angle"
    """The sampler; angle is the centred one, the others exist as references."""


class Training(Section):
    """How the weights are found."""

    start: Name | None = None
    """A model, by its shipped name or its path, whose weights are the first; null: random ones. What the network sees
    more than that model's begins without effect."""
    steps: Count = 20_000
    """Optimiser steps."""
    batch: Count = 16
    """Windows in a step."""
    reuse: Count = 1
    """About how many times a simulated window is shown, each time with other noise and noise levels, drawn from a
    pool of up to 2048: where simulating windows takes longer than learning from them. At most `batch` times; 1: all
    windows of a step are new."""
    patch: Count = 64
    """Width and height of a training window, in high-resolution pixels."""
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-3
    """Peak learning rate."""
    warmup: Annotated[int, Field(ge=0)] = 500
    """Steps of linear warm-up."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Decay a step of the averaged weights that the model file holds."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """Decoupled weight decay."""
    validate_every: Count = 500
    """Steps between validations."""
    checkpoint_every: Count = 500
    """Steps between checkpoints: what an abrupt end loses at most."""
    clip: Positive = 1.0
    """Largest norm of the gradient."""

    def _faults(self) -> Faults:
        if self.warmup > self.steps:
            yield "warmup", f"got {self.warmup}, expected at most training.steps = {self.steps}"


class Recipe(Section):
    """Everything that makes a model: the task, the bands, the data, the network and how it is trained."""

    version: Literal[1]
    """Version of this format."""
    name: Annotated[str, Field(pattern=r"^[a-z0-9]+([-_][a-z0-9]+)*$")]
    """Lower-case letters, digits, single dashes and underscores."""
    description: str = ""
    """One line for the catalogue."""
    task: Task
    """What the model does."""
    bands: Annotated[list[Name], Field(min_length=1)]
    """Names of the bands, in the model's order."""
    optional_bands: list[Name] = []
    """Bands that an image may lack."""
    data: Data = Data()
    """Where to learn from."""
    network: Network = Network()
    """The network's size."""
    diffusion: Diffusion = Diffusion()
    """The noise levels of training."""
    sampler: Sampler = Sampler()
    """What prediction does unless asked otherwise."""
    training: Training = Training()
    """The optimisation."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of the weights, the windows and the simulation."""

    def _faults(self) -> Faults:
        yield from repeated("bands", self.bands)
        yield from self._unknown_bands("optional_bands", self.optional_bands)
        if set(self.bands) <= set(self.optional_bands):
            yield "optional_bands", "got every band, expected at least one band that an image must have"
        if self.task.kind == "synthesis" and self.optional_bands:
            yield "optional_bands", f"got {', '.join(self.optional_bands)}, expected none: a synthesis makes all bands"
        yield from self._task_faults()
        for role in ("train", "valid"):
            for index, source in enumerate(getattr(self.data, role)):
                yield from self._source_faults(f"data.{role}.{index}.bands", source.bands)
                yield from self._offset_faults(f"data.{role}.{index}.offset", source)

    def _unknown_bands(self, key: str, names: list[str]) -> Faults:
        unknown = [name for name in names if name not in self.bands]
        if unknown:
            yield key, f"got {', '.join(unknown)}, expected names out of bands: {', '.join(self.bands)}"

    def _task_faults(self) -> Faults:
        yield from self._unknown_bands("task.mtf", list(self.task.gains))
        if self.network.dims == 3 and getattr(self.task, "neighbours", None) is None:
            way = ", or planes for the volume: task.neighbours, such as {along: z, planes: 1}"
            none = f": the task {self.task.kind} sees no planes beside the restored one"
            yield "network.dims", f"got 3, expected 2{way if hasattr(self.task, 'neighbours') else none}"
        unit = math.lcm(self.task.zoom, self.network.stride)
        if self.training.patch % unit:
            nearest = max(unit, round(self.training.patch / unit) * unit)
            parts = f"task.ratio {self.task.zoom} and the network's stride {self.network.stride}"
            yield "training.patch", f"got {self.training.patch}, expected a multiple of {unit} ({parts}): {nearest}"

    def _offset_faults(self, key: str, source: Source) -> Faults:
        if not isinstance(source.offset, list):
            return
        if len(source.offset) != len(self.bands):
            yield key, f"got {len(source.offset)} numbers, expected one, or {len(self.bands)}: {', '.join(self.bands)}"
        if source.guide is not None:
            yield key, "got one a band beside a guide, expected one number: it holds for the guide too"

    def _source_faults(self, key: str, bands: list[Any] | None) -> Faults:
        if bands is None:
            return
        if len(bands) != len(self.bands):
            yield key, f"got {len(bands)} bands, expected {len(self.bands)}: {', '.join(self.bands)}"
            return
        pairs = zip(self.bands, bands, strict=True)
        missing = [name for name, own in pairs if own is None and name not in self.optional_bands]
        if missing:
            yield key, f"got null for {', '.join(missing)}, expected null only for optional_bands"
