"""Noise of light and electronics taken off one image of a microscope, or of any camera with the law Var = a E + b."""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
import xarray as xr
from torch import Generator, Tensor
from torch.nn import functional as F

from sciddiff.baselines import denoising
from sciddiff.errors import InputError, OptionError
from sciddiff.io.profile import RasterProfile
from sciddiff.physics import anscombe, thinning
from sciddiff.physics.fractal import uniform
from sciddiff.physics.noise_estimation import LAW, Double, noise_law
from sciddiff.recipe.tasks import Denoise as Settings
from sciddiff.tasks import beside, local, wiener
from sciddiff.tasks.base import (
    LINEAR,
    NEIGHBOUR,
    Condition,
    Input,
    Instrument,
    Observation,
    OneImage,
    known_name,
    planes_beside,
)
from sciddiff.tasks.instrument import checked
from sciddiff.tasks.look import sampled

LIMITS = {"gain": (0.0, math.inf, 1), "variance": (-math.inf, math.inf, 1)}
DARK, BRIGHT = 0.01, 0.995
"""Quantiles of a clean image that count as no light and as the bright structures to which `dose` refers."""
COMMON, APART = 0.12, 0.08
"""Standard deviations of the logarithm by which an estimated law is off: everywhere alike, and dark against bright."""
CORRELATED, STRETCHED = 0.15, 0.3
"""Shares of the training scenes whose noise is blurred as by resampling, and that come as bytes, their top clipped."""
BLUR = (0.3, 0.6)
"""Range of that blur's standard deviation, in pixels."""
CLIPPED = (0.99, 1.0)
"""Range of the quantile that becomes the last byte."""
INFLATED, INFLATION = 0.25, 1.5
"""Share of the estimated laws that took texture for noise, and the largest logarithm by which they are too high."""
FEW = 1.0
"""Variance at the mean, in squared counts, below which rounding to whole counts is felt."""
BLANK = 1e-6
"""Noise that a blank channel is said to have, over its value: too little to change it."""
STRENGTHS = {"gaussian": 1.4, "non-local means": 0.8, "cosine": 3.0}
"""Of the classical methods that results are compared with."""
TRUST_OF_HALF = 0.05
"""Weight of a window whose truth is the other, noisy half of its photons: its errors are mostly that half's noise."""


MAPS = 7
"""Of an image alone."""


class Denoise(OneImage):
    """x -> x + noise of variance a x + b; see `Task` for what each method does.

    The base and what the network sees come from the stabilised image, where noise is N(0, 1) at every intensity; the
    residual is that of the image itself, over a scale that is the noise's there, so that the network's mean is the mean
    of the image and needs no inverse. Nothing is projected: the result may differ from the image by any amount that
    its noise allows, and whether it does no more is a test (`y - x` over its noise has variance one), no constraint.
    """

    channelwise = True
    numbers = 1
    stride = local.CELL
    takes_noisy = True
    counts_electrons = True
    radius = wiener.RADIUS + local.DETAIL // 2 + local.NEAR // 2 + local.SPREAD // 2

    def __init__(self, settings: Settings, bands: Sequence[str], *, volume: bool = False):
        if len(bands) != 1:
            raise OptionError(f"denoising takes one band, got {', '.join(bands)}; each has a noise of its own")
        self.settings = settings
        self.bands = self.scene_bands = tuple(bands)
        self.inputs = (Input("image", self.bands), *beside.inputs(settings.neighbours, self.bands))
        self.neighbours = beside.told(settings.neighbours)
        self.volume = volume
        self.maps = MAPS + 2 * (planes_beside(self.neighbours) + volume)

    # ---- observations ----

    def survey(
        self,
        image: xr.DataArray,
        others: Mapping[str, Sequence[xr.DataArray]] | None = None,
        told: Instrument | None = None,
    ) -> Instrument:
        """Measure the noise law of an image, see `physics.noise_estimation`.

        Parameters
        ----------
        image
            (band, [t, z,] y, x); all planes of a channel have one law. Of large ones a part is read.
        others
            None.
        told
            Where one of the two is told, the other is estimated of the line that has it; where both are, nothing is
            measured.

        Returns
        -------
        Instrument
            `gain` and `variance`, one number a channel.

        Raises
        ------
        InputError
            There is nothing to estimate from, see `noise_law`; a blank channel is kept, with a warning.
        OptionError
            What is told is out of its range, or is neither.
        """
        channels = image.sizes["band"]
        limits = {name: (low, high, channels) for name, (low, high, _) in LIMITS.items()}
        known = checked(told, limits, task="denoising")
        if len(known) == len(LIMITS):
            return known
        laws, whole, few = [], _whole_numbers(image), []
        for at, channel in enumerate(image["band"].values):
            planes = sampled(image.isel(band=at))
            told_of = {name: numbers[at % len(numbers)] for name, numbers in known.items()}
            try:
                laws.append(_law_of(planes, told_of, channel=str(channel)))
            except InputError as error:
                raise error if channels == 1 else InputError(f"channel {channel}: {error}") from error
            few += [str(channel)] if whole and _is_below_one(planes, laws[-1]) else []
        if few:
            text = f"the noise of {', '.join(few)} is less than one count, and the result comes in whole numbers"
            warnings.warn(f"{text}: give the image as float32 to keep what lies between them", stacklevel=2)
        gains, variances = zip(*laws, strict=True)
        return {"gain": gains, "variance": variances}

    def observe(self, inputs: Mapping[str, Tensor], instrument: Instrument | None = None) -> Observation:
        """Join an image with its noise law.

        Parameters
        ----------
        inputs
            {"image": (b, 1, h, w)}, and where the task sees further planes "neighbour", (b, 2 n, h, w).
        instrument
            `gain` (a, in the image's unit an electron) and `variance` (b, in its square, at an image of zero, where it
            is negative if the camera has an offset).

        Raises
        ------
        OptionError
            Where one is missing or out of its range, or a name is neither.
        """
        given = checked(instrument, LIMITS, task="denoising")
        if len(given) < len(LIMITS):
            raise OptionError(
                f"denoising needs gain and variance of the noise, Var[y] = gain E[y] + variance; got "
                f"{', '.join(given) or 'neither'}. Measured of the camera, or of the image by the task's `survey`: "
                f"{LAW}"
            )
        image = inputs["image"]
        law = {name: torch.tensor(given[name], dtype=image.dtype).expand(len(image)) for name in LIMITS}
        if not law["gain"].any() and not (law["variance"] > 0).all():
            raise OptionError("gain 0 and variance 0: an image without noise needs no denoising")
        return self._observation(dict(inputs), law["gain"].to(image.device), law["variance"].to(image.device))

    def _observation(self, inputs: Mapping[str, Tensor], gain: Tensor, variance: Tensor) -> Observation:
        blank = gain.new_zeros(len(gain), self.numbers)
        return Observation(inputs, {"gain": gain, "variance": variance}, blank)

    def simulate(self, clean: Tensor, generator: Generator | None, *, instrument_dropout: float = 0.0) -> Observation:
        """Look at clean scenes with a camera drawn for each; with the nominal one, its draw fixed, without a generator.

        Parameters
        ----------
        clean
            (b, 1, h, w) in any unit; or (b, 2, h, w), what was measured of the scene beside it. Then a scene is zero in
            the dark and one in its bright structures; where something was measured both count electrons whose
            variance is their mean; where there is only that, it is split in two halves, one of which is the truth.
            Of a task that sees further planes, these stand between the two, or after the one: clean planes, looked at
            with noise of their own, or measured ones where the scene's own plane is; zero where there is none.
        generator
            Source of the draws.
        instrument_dropout
            Share of the scenes whose noise law is estimated, and so off, rather than known.
        """
        source = torch.Generator(clean.device).manual_seed(0) if generator is None else generator
        scene, planes, there, noisy = beside.split(clean, self.neighbours)
        dark, bright = _levels(scene) if noisy is None else (torch.zeros_like(scene[:, 0, 0, 0]), torch.ones(()))
        if generator is None:  # one camera for all, as for the planes of a stack
            dark, bright = dark.amin().expand(len(scene)), bright.amax()
        obs = self._exposed(torch.cat([scene, planes], 1), dark, bright, source, nominal=generator is None)
        obs = _apart(obs, there if generator is None or not planes.shape[1] else beside.lost(there, source))
        if noisy is not None:
            obs = _measured(obs, scene, noisy, planes, source)
        off = uniform(source, (len(clean),), low=0, high=1) < instrument_dropout
        return _misjudged(obs, off.to(clean), source)

    def _exposed(
        self, scene: Tensor, dark: Tensor, bright: Tensor | float, source: Generator, *, nominal: bool
    ) -> Observation:
        """Scenes (b, 1 + planes, h, w) with drawn exposures, in the unit of the scene, all planes under `image`."""
        b, settings = len(scene), self.settings

        def drawn(bounds: tuple[float, float]) -> Tensor:
            low, high = map(math.log, bounds)
            share = torch.full((b,), 0.5) if nominal else uniform(source, (b,), low=0, high=1)
            return torch.exp(low + (high - low) * share).to(scene)

        per_unit = drawn(settings.dose) / (bright - dark).clamp_min(torch.finfo(scene.dtype).tiny ** 0.5)
        ground, read = drawn(settings.background), drawn(settings.read_noise)
        k, lift, start = _column(per_unit), _column(ground), _column(dark)
        expected = k * (scene - start) + lift
        electrons = expected.clamp_min(0)
        white = torch.randn(scene.shape, generator=source, device=scene.device)
        counts = torch.poisson(electrons, generator=source) + _column(read) * white
        variance = ground + read**2
        if not nominal:
            counts, electrons, variance = _disturbed(counts, electrons, variance, source)
        image, truth = start + (counts - lift) / k, scene + (electrons - expected) / k
        law = 1 / per_unit, variance / per_unit**2 - dark / per_unit
        return self._observation({"image": image, "truth": truth, "exact": torch.ones_like(scene)}, *law)

    def truth(self, clean: Tensor, obs: Observation) -> Tensor:
        """The clean scene, or the other half of what was measured."""
        return obs.inputs["truth"]

    def trust(self, obs: Observation) -> Tensor:
        """Full for clean scenes, little for halves."""
        exact = obs.inputs["exact"][:, 0, 0, 0]
        return exact + TRUST_OF_HALF * (1 - exact)

    # ---- engine ----

    def _law(self, obs: Observation) -> dict[str, Tensor]:
        return {"a": _column(obs.instrument["gain"]), "b": _column(obs.instrument["variance"])}

    def _stable(self, obs: Observation) -> Tensor:
        return anscombe.stabilise(obs.inputs["image"], **self._law(obs))

    def base(self, obs: Observation) -> Tensor:
        """The stabilised image under local Wiener filters band by band, and back; see `wiener.smooth`."""
        return anscombe.unstabilise(wiener.smooth(self._stable(obs)).estimate, **self._law(obs))

    def condition(self, obs: Observation, base: Tensor) -> Condition:
        """Scale: the noise at the base's intensity times the share of it that the filters leave.

        Maps, all of the stabilised image d: d and the base less the mean of d over 17 x 17, each over a spread of its
        own; what the base took off; the logarithms of both spreads and of the scale; how dark it is, because the noise
        of few electrons is skewed whatever the transformation. Of further planes, stabilised too, each less the same
        mean over the spread of d, and where they are known; in a volume d among them.
        """
        law, stable = self._law(obs), self._stable(obs)
        smooth = wiener.smooth(stable)
        near = local.box_mean(stable, local.NEAR)
        raw, fine = stable - near, smooth.estimate - near
        detail = (stable - local.box_mean(stable, local.DETAIL)).square()
        contrast = local.box_mean(detail, local.SPREAD).sqrt().clamp_min(0.3)
        structure = (local.box_mean(fine.square(), local.SPREAD) + smooth.spread.square()).sqrt()
        maps = [
            raw / contrast,
            fine / structure,
            stable - smooth.estimate,
            contrast.log(),
            structure.log(),
            smooth.spread.log(),
            1 / near.clamp_min(1),
        ]
        if self.neighbours is not None:
            planes, known = beside.given(obs, self.neighbours)
            middle = stable if self.volume else None
            maps += beside.maps(anscombe.stabilise(planes, **law), known, near=near, scale=contrast, middle=middle)
        noise = (law["a"] * base + law["b"]).clamp_min(0) + 0.375 * law["a"].square()
        return Condition(scale=smooth.spread * noise.sqrt(), maps=torch.cat(maps, 1).clamp(-10, 10))

    def project(self, x: Tensor, obs: Observation) -> Tensor:
        """As it is: noise hides nothing that is known for certain."""
        return x

    def baselines(self) -> Mapping[str, Callable[[Observation], Tensor]]:
        """The base itself, and classical methods of one strength on the stabilised image."""
        named = {name.replace(" ", "_"): partial(self._classical, name) for name in STRENGTHS}
        return {LINEAR: self.base, **named}

    def _classical(self, method: str, obs: Observation) -> Tensor:
        image, law = obs.inputs["image"], zip(obs.instrument["gain"].tolist(), obs.instrument["variance"].tolist())
        done = [
            denoising.denoise(each[0].cpu().numpy(), method, strength=STRENGTHS[method], law=own)
            for each, own in zip(image, law)
        ]
        return torch.from_numpy(np.stack(done))[:, None].to(image)


def _law_of(planes: Double, told: Mapping[str, float], *, channel: str) -> tuple[float, float]:
    """The law of one channel; next to no noise where it is blank, as of a lamp that was off, so that it is kept."""
    values = planes[np.isfinite(planes)]
    if told or (values.size and np.ptp(values)):
        return noise_law(planes, gain=told.get("gain"), variance=told.get("variance"))
    warnings.warn(f"channel {channel} is blank, one value everywhere: it has no noise to take off", stacklevel=2)
    return 0.0, max((BLANK * abs(values[0])) ** 2 if values.size else 1.0, BLANK**4)


def _is_below_one(planes: Double, law: tuple[float, float]) -> bool:
    values = planes[np.isfinite(planes)]
    return bool(values.size and np.ptp(values) and law[0] * values.mean() + law[1] < FEW)


def _whole_numbers(image: xr.DataArray) -> bool:
    """Whether the file holds, and so the result will hold, whole numbers with a unit of one."""
    profile = image.encoding.get("raster")
    if not isinstance(profile, RasterProfile) or np.dtype(profile.dtype).kind not in "iu":
        return False
    return all(band.identity for band in profile.radiometry)


def _column(numbers: Tensor) -> Tensor:
    """(b,) to (b, 1, 1, 1)."""
    return numbers.view(-1, 1, 1, 1)


def _levels(scene: Tensor) -> tuple[Tensor, Tensor]:
    """Values that count as dark and as bright, (b,) each."""
    flat = scene.flatten(1)[:, :: max(1, scene[0].numel() // 100_000)].double()
    dark, bright = flat.quantile(DARK, 1).to(scene), flat.quantile(BRIGHT, 1).to(scene)
    return dark, torch.where(bright > dark, bright, dark + 1)


def _disturbed(counts: Tensor, electrons: Tensor, variance: Tensor, source: Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Counts, some with blurred noise, some as bytes, their top clipped in the scene too; the variance in the dark."""
    b = len(counts)
    smeared = _column(uniform(source, (b,), low=0, high=1)).to(counts) < CORRELATED
    noise = counts - electrons
    blurred = torch.cat([_blur(each, float(uniform(source, (), low=BLUR[0], high=BLUR[1]))) for each in noise.split(1)])
    counts = torch.where(smeared, electrons + blurred, counts)
    low = counts.amin((1, 2, 3))
    shares = uniform(source, (b,), low=CLIPPED[0], high=CLIPPED[1])
    tops = [each.flatten().quantile(float(share)) for each, share in zip(counts, shares)]
    step = ((torch.stack(tops) - low) / 255).clamp_min(1e-6)
    bytes_ = ((counts - _column(low)) / _column(step)).round().clamp(0, 255) * _column(step) + _column(low)
    coarse = (uniform(source, (b,), low=0, high=1) < STRETCHED).to(counts.device)
    variance = variance + torch.where(coarse, step**2 / 12, 0)
    top = _column(low + 255 * step)
    clipped = torch.where(_column(coarse), torch.minimum(electrons, top), electrons)
    return torch.where(_column(coarse), bytes_, counts), clipped, variance


def _blur(noise: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of (1, c, h, w) over 5 x 5 pixels that keeps the variance of white noise."""
    offsets = torch.arange(-2, 3, dtype=noise.dtype, device=noise.device)
    taps = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = taps[:, None] * taps
    kernel = kernel / kernel.square().sum().sqrt()
    padded = F.pad(noise, (2, 2, 2, 2), mode="reflect")
    return F.conv2d(padded.transpose(0, 1), kernel[None, None]).transpose(0, 1)


def _apart(obs: Observation, known: Tensor) -> Observation:
    """The restored plane, its truth, and those beside it where they are known, (b, planes, h, w)."""
    inputs = {name: value[:, :1] for name, value in obs.inputs.items()}
    return replace(obs, inputs=inputs | beside.named(obs.inputs["image"][:, 1:], known))


def _measured(obs: Observation, scene: Tensor, noisy: Tensor, planes: Tensor, source: Generator) -> Observation:
    """Replace the simulation where something was measured: by a pair, or by two halves of it."""
    has_noisy, has_scene = (_column(part.abs().amax((1, 2, 3)) > 0) for part in (noisy, scene))
    halves = [half / 2 for half in thinning.split(noisy, a=1.0, b=0.0, generator=source)]
    image = torch.where(has_scene, noisy, halves[0])
    truth = torch.where(has_scene, scene, halves[1])
    inputs = {
        "image": torch.where(has_noisy, image, obs.inputs["image"]),
        "truth": torch.where(has_noisy, truth, obs.inputs["truth"]),
        "exact": (has_scene | ~has_noisy).to(noisy).expand_as(noisy),
    }
    if planes.shape[1]:
        half = thinning.split(planes, a=1.0, b=0.0, generator=source)[0] / 2
        there = obs.inputs[known_name(NEIGHBOUR)]
        seen = torch.where(has_noisy, torch.where(has_scene, planes, half), obs.inputs[NEIGHBOUR])
        inputs |= beside.named(seen, there)
    counted = has_noisy.flatten()
    law = {"gain": 1.0, "variance": 0.0}
    instrument = {name: torch.where(counted, law[name], value) for name, value in obs.instrument.items()}
    return replace(obs, inputs=inputs, instrument=instrument)


def _misjudged(obs: Observation, off: Tensor, source: Generator) -> Observation:
    """Noise laws as they are estimated, where `off` is one: the line through two variances that are off.

    Those of the darkest and the brightest place, so that none is below zero between them.
    """
    gain, variance = obs.instrument["gain"], obs.instrument["variance"]
    near = local.box_mean(obs.inputs["truth"], local.NEAR).flatten(1)
    low, high = near.amin(1), near.amax(1)
    draws = torch.randn((3, len(gain)), generator=source, device=gain.device)
    chance = torch.rand((2, len(gain)), generator=source, device=gain.device)
    common = COMMON * draws[0] + torch.where(chance[0] < INFLATED, INFLATION * chance[1], 0)
    apart = APART * draws[1], APART * draws[2]
    tiny = torch.finfo(gain.dtype).tiny
    at_low, at_high = (
        (gain * level + variance).clamp_min(tiny) * torch.exp(off * (common + own))
        for level, own in zip((low, high), apart)
    )
    slope = ((at_high - at_low) / (high - low).clamp_min(tiny)).clamp_min(0)
    told = {
        "gain": torch.where(off > 0, slope, gain),
        "variance": torch.where(off > 0, at_low - slope * low, variance),
    }
    return replace(obs, instrument=told)
