"""What is asked of a prediction: steps, samples, what is known of the instrument, guidance."""

import functools
import math
from dataclasses import dataclass, field, replace

import numpy as np
import torch
import xarray as xr

from sciddiff.errors import OptionError
from sciddiff.model.engine import Restorer
from sciddiff.model.fit import Fitted
from sciddiff.model.layout import Layout
from sciddiff.recipe.schema import Recipe
from sciddiff.tasks import Instrument


@dataclass(frozen=True)
class Guidance:
    """How a model is led beyond its own estimate; see `diffusion.guide`.

    Attributes
    ----------
    scale
        0: as if nothing were asked for; 1: the model itself; more: beyond it.
    interval
        Least and largest noise level that is guided, in units of the residual's standard deviation.
    negative
        What is not wanted, as an instrument; the origin is told this in place of nothing.
    weaker
        A model, by its path, that stands at the origin and is told all that the other is told.
    """

    scale: float = 1.0
    interval: tuple[float, float] = (0.0, math.inf)
    negative: Instrument = field(default_factory=dict)
    weaker: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.scale < math.inf:
            raise OptionError(f"the scale of guidance is {self.scale:g}; needs to be 0 or more")
        if self.negative and self.weaker is not None:
            raise OptionError("guidance sets out from what is not wanted or from a weaker model, not from both")
        if not 0 <= self.interval[0] < self.interval[1]:
            raise OptionError(f"the interval of guidance is {list(self.interval)}; needs 0 <= least < largest")
        if self.scale == 1 and (self.negative or self.weaker is not None or self.interval != (0.0, math.inf)):
            raise OptionError("guidance of scale 1 is the model itself; give another scale, such as 2, with the rest")


@dataclass(frozen=True)
class Request:
    """What is asked of the engine.

    `steps` counts the network evaluations of one sample; 1 is the posterior mean. `instrument` holds what is known of
    the instrument beyond the nominal numbers, or what is asked of a new image. `strength` says how far an image that is
    to be changed may change.
    """

    steps: int = 1
    samples: int = 1
    seed: int = 0
    method: str = "angle"
    instrument: Instrument = field(default_factory=dict)
    guidance: Guidance = field(default_factory=Guidance)
    strength: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.strength <= 1:
            raise OptionError(f"strength is {self.strength:g}; needs to be above 0, and 1 at most")
        if self.samples > 1 and self.steps < 2:
            raise OptionError(f"{self.samples} samples need steps of 2 or more; steps=1 is the posterior mean alone")

    @property
    def product(self) -> str:
        """Which result is the product: the mean, or one sample where a single one was asked for."""
        return "sample" if self.steps > 1 and self.samples == 1 else "mean"


def names(request: Request) -> list[str]:
    """Names of the results that a request gives."""
    if request.steps == 1:
        return ["mean"]
    return ["mean", "sample"] if request.samples == 1 else ["mean", "sample", "std", "lower", "upper"]


def surveyed(model: Restorer, fitted: Fitted, request: Request) -> Request:
    """The request with what the whole image tells of its instrument, where nobody has told it.

    Raises
    ------
    OptionError
        It asks for what the model, or the image, has no use for.
    """
    if request.steps > 1:
        refuse_noise_alone(model.recipe)
    if request.guidance.scale != 1 and not model.task.generative:
        raise OptionError("this model cannot be guided: there are no conditions that it may do without")
    if request.strength < 1 and fitted.changed is None:
        raise OptionError("strength says how far the input `image` may change; none is given")
    if request.guidance.weaker is not None:
        weaker_of(model, request.guidance.weaker, anew=True)
    others = {name: [_in_order(each) for each in given if each] for name, given in fitted.others.items()}
    found = model.task.survey(fitted.image, others, request.instrument)
    return replace(request, instrument={**found, **request.instrument})


def refuse_noise_alone(recipe: Recipe) -> None:
    """Raise where samples are wanted of a model that learned from noise alone.

    Parameters
    ----------
    recipe
        Of the model.

    Raises
    ------
    OptionError
        See `of_noise_alone`.
    """
    if of_noise_alone(recipe):
        raise OptionError(f"{recipe.name} learned from noise alone: it has a posterior mean (steps=1) and no samples")


def of_noise_alone(recipe: Recipe) -> bool:
    """Whether a recipe teaches nothing but noise, of which no spread can be learned."""
    sources = recipe.data.train
    return bool(sources) and all(source.noisy_only for source in sources)


def _in_order(fitted: Fitted) -> xr.DataArray:
    """An image with its bands in the model's order."""
    order = np.argsort(fitted.positions)
    return fitted.image if (np.diff(order) == 1).all() else fitted.image.isel(band=order)


def weaker_of(model: Restorer, path: str, *, anew: bool = False) -> Restorer:
    """The model at a path, if it can stand at the origin of a model's guidance: the same in all but its network.

    Parameters
    ----------
    model
        The one that is guided.
    path
        Of the weaker one.
    anew
        Whether to read it, as a prediction does when it begins, if another file may have come to the path since.

    Raises
    ------
    OptionError
        It cannot.
    """
    if anew:
        _loaded.cache_clear()
    weaker = _loaded(path, str(model.residual_root.device))
    if weaker.recipe.task != model.recipe.task or weaker.recipe.bands != model.recipe.bands:
        raise OptionError(f"{path} has another task, or other bands, than {model.recipe.name}, which it is to guide")
    if not torch.allclose(weaker.residual_root, model.residual_root, rtol=1e-3, atol=1e-3):
        raise OptionError(f"{path} was trained on other images than {model.recipe.name}, which it is to guide")
    return weaker


@functools.lru_cache(maxsize=2)
def _loaded(path: str, device: str) -> Restorer:
    from sciddiff.model.file import load  # which imports this module by way of the model

    return load(path, device=device)


def told_of(layout: Layout, request: Request) -> Instrument:
    """What is known of the instrument, and where the grids lie."""
    return request.instrument if layout.phase == (0.0, 0.0) else {**request.instrument, "offset": layout.phase}
