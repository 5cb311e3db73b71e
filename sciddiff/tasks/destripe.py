"""Stripes of unequal detectors taken off: one gain and one offset a line, estimated in a window that moves along it."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor
from torch.nn import functional as F

from sciddiff.baselines import destriping
from sciddiff.physics import gaps
from sciddiff.physics.fractal import uniform
from sciddiff.recipe.tasks import Destripe as Settings
from sciddiff.tasks import local
from sciddiff.tasks.base import LINEAR, Condition, Input, Instrument, Observation, OneImage, known_name
from sciddiff.tasks.instrument import checked
from sciddiff.tasks.local import box_mean_along
from sciddiff.tasks.masked import by_band

LENGTH = 129
"""Pixels along a line over which its detector is told from the scene."""
ACROSS = 9
"""Lines in whose mean stripes have no part: anything wider is taken for the scene."""
ROBUST = 1.0
"""Steps between lines beyond this many mean absolute ones count as edges of the scene: they are cut there."""
LEVEL = 4.0
"""Spreads of a scene by which its mean is above zero counts, where a gain is drawn: only contrast is known of it."""
PERIODS = (None, 16, 32)
"""Detectors after which a drawn pattern repeats."""
BLOCKS = (1, 1, 2)
"""Neighbouring lines of a drawn pattern that share a detector."""
NOMINAL_SEED = 0
"""Of the detectors of the nominal instrument."""


class Destripe(OneImage):
    """x -> (1 + g) x + o with one g and one o a line; see `Task` for what each method does."""

    numbers = 1
    stride = local.CELL

    def __init__(self, settings: Settings, bands: Sequence[str]):
        self.settings = settings
        self.bands = self.scene_bands = tuple(bands)
        self.inputs = (Input("image", self.bands),)
        self.maps = 3 * len(bands)
        self.along, self.across = (2, 3) if settings.lines == "columns" else (3, 2)
        self.reach = LENGTH // 2 + ACROSS // 2 + 1
        self.radius = self.reach + local.RADIUS + ACROSS // 2

    def observe(self, inputs: Mapping[str, Tensor], instrument: Instrument | None = None) -> Observation:
        """Join an image with its validity, everywhere where not given.

        Parameters
        ----------
        inputs
            image (b, c, h, w) and where it is valid.
        instrument
            None is known.

        Raises
        ------
        OptionError
            Where numbers of an instrument are given.
        """
        checked(instrument, {}, task="destriping")
        image = inputs["image"]
        full = {known_name("image"): torch.ones_like(image), **inputs}
        return Observation(full, {}, image.new_zeros(len(image), self.numbers))

    def simulate(self, clean: Tensor, generator: Generator | None, *, instrument_dropout: float = 0.0) -> Observation:
        """Look at clean scenes with unequal detectors, drawn for each scene; those of one seed without a generator.

        Parameters
        ----------
        clean
            (b, c, h, w); zero in a band that a scene lacks.
        generator
            Source of the draws.
        instrument_dropout
            Has no meaning here: no number of an instrument is told.
        """
        present = (clean.abs().amax((2, 3), keepdim=True) > 0).to(clean)
        striped = torch.cat([self._stripe(scene, generator) for scene in clean.split(1)]) * present
        return self.observe({"image": striped, known_name("image"): present.expand_as(clean)})

    def _stripe(self, scene: Tensor, generator: Generator | None) -> Tensor:
        """One scene with stripes of a drawn strength and pattern."""
        nominal = generator is None
        source = torch.Generator().manual_seed(NOMINAL_SEED) if generator is None else generator
        share, period, block = uniform(source, (3,), low=0, high=1).tolist()
        level = scene + LEVEL * scene.std((2, 3), keepdim=True)  # gains act on what a detector counts, not on contrast
        striped = gaps.stripe(
            level,
            source,
            gain_spread=self.settings.gain if nominal else share * 2 * self.settings.gain,
            offset_spread=self.settings.offset if nominal else share * 2 * self.settings.offset,
            drift_spread=0.0 if nominal else 0.5 * share * self.settings.offset,
            lines=self.settings.lines,
            block=1 if nominal else BLOCKS[int(block * len(BLOCKS))],
            period=None if nominal else PERIODS[int(period * len(PERIODS))],
        )
        return striped.image - (level - scene)

    def stripes(self, obs: Observation) -> Tensor:
        """What each line has more than those around, (b, c, h, w): steps between lines, averaged along and summed up.

        The mean of clipped steps is nearer to the detectors than a difference of means: edges of the scene are few and
        large. Sums over `ACROSS` lines less their mean leave out all that is wider.
        """
        image, known = obs.inputs["image"], obs.inputs[known_name("image")]
        both = known * known.roll(1, self.across)
        step = (image - image.roll(1, self.across)) * both
        first = [slice(None)] * 4
        first[self.across] = slice(0, 1)
        step[tuple(first)], both[tuple(first)] = 0, 0  # there the roll brings the other end
        count = box_mean_along(both, LENGTH, dim=self.along)
        count = count.clamp_min(torch.finfo(image.dtype).tiny)
        limit = ROBUST * box_mean_along(step.abs(), LENGTH, dim=self.along) / count
        mean = box_mean_along(step.clamp(-limit, limit), LENGTH, dim=self.along) / count
        return _detrended_sum(mean, dim=self.across) * known

    def base(self, obs: Observation) -> Tensor:
        """The image less its stripes, (b, c, h, w)."""
        return obs.inputs["image"] - self.stripes(obs)

    def condition(self, obs: Observation, base: Tensor) -> Condition:
        """Local scale and contrast-free maps of the base, see `local.contrast_free`; the stripes over the scale."""
        free = local.contrast_free(base)
        taken = ((obs.inputs["image"] - base) / free.scale).clamp(-5, 5)
        return Condition(scale=free.scale, maps=torch.cat([free.maps, taken], 1))

    def project(self, x: Tensor, obs: Observation) -> Tensor:
        """What is wider than `ACROSS` lines as it was measured: only finer changes across the lines are kept."""
        known = obs.inputs[known_name("image")]
        change = (x - obs.inputs["image"]) * known
        share = box_mean_along(known, ACROSS, dim=self.across).clamp_min(torch.finfo(x.dtype).tiny)
        return x - box_mean_along(change, ACROSS, dim=self.across) / share

    def baselines(self) -> Mapping[str, Callable[[Observation], Tensor]]:
        """Matched moments, wavelets in Fourier space, and the base itself."""
        return {
            "moment_matching": lambda obs: self._each(obs, destriping.moment_matching),
            "wavelet_fft": lambda obs: self._each(obs, destriping.wavelet_fft),
            LINEAR: self.base,
        }

    def _each(self, obs: Observation, method: Callable[..., NDArray[np.floating]]) -> Tensor:
        image, known = obs.inputs["image"], obs.inputs[known_name("image")] > 0
        return by_band(image, known, lambda band, missing: method(band, self.settings.lines, missing=missing))


def _detrended_sum(steps: Tensor, *, dim: int) -> Tensor:
    """Running sum of steps along `dim` less its mean over `ACROSS` pixels, (b, c, h, w).

    s_i - mean_k s_(i+k) for k of -K to K in terms of the steps d_i = s_i - s_(i-1): weights (K - j) / (2 K + 1) on
    d_(i-j) for j of 0 to K - 1 and -(K - j + 1) / (2 K + 1) on d_(i+j) for j of 1 to K.
    """
    reach = ACROSS // 2
    rising = torch.arange(1, reach + 1, dtype=steps.dtype, device=steps.device)
    kernel = torch.cat([rising, -rising.flip(0)]) / ACROSS
    size = [1, 1, 1, 1]
    size[dim] = 2 * reach
    pad = (reach - 1, reach, 0, 0) if dim == 3 else (0, 0, reach - 1, reach)
    flat = F.pad(steps, pad).flatten(0, 1)[:, None]
    return F.conv2d(flat, kernel.view(size)).view(steps.shape)
