"""Super-resolution of any bands by an integer factor, with the sensor's MTF as forward model."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Generator, Tensor

from sciddiff.baselines import back_projection, interpolation
from sciddiff.physics import sensor
from sciddiff.recipe.tasks import SuperResolution as Settings
from sciddiff.tasks import local
from sciddiff.tasks.base import Condition, Input, Instrument, Observation, OneImage
from sciddiff.tasks.instrument import checked, gain_range, network_numbers

GAIN_STEP = 0.01
"""Spacing of the gains for which interpolators are solved; between them they are mixed linearly."""
TARGET_MTF = (0.1, 0.95)
"""Range in which the target's own MTF may be told."""


class SuperResolution(OneImage):
    """x -> degrade(x) + noise, on a grid coarser by `ratio`; see `Task` for what each method does."""

    def __init__(self, settings: Settings, bands: Sequence[str]):
        self.settings = settings
        self.ratio = settings.ratio
        self.bands = self.scene_bands = tuple(bands)
        self.inputs: tuple[Input, ...] = (Input("image", self.bands, self.ratio),)
        self.nominal = torch.tensor(sensor.nominal_mtf(settings.sensor, bands, settings.mtf))
        self.stride = math.lcm(self.ratio, local.CELL)
        self.maps = 2 * len(self.bands)
        self.numbers = len(self.bands) + 3
        least, largest = gain_range(self.nominal, settings.mtf_range)
        self.limits = {"mtf": (least, largest, len(self.bands)), "noise": (0.0, 1.0, 1)}
        self.blur_radius = sensor.blur_radius(least, self.ratio)
        interpolation_radius = (interpolation.MMSE_RADIUS + 1) * self.ratio
        rounds = settings.projections * (self.blur_radius + self.ratio + interpolation_radius)
        self.radius = interpolation_radius + local.RADIUS + rounds
        if settings.target_mtf is not None:
            self.limits["target_mtf"] = (*TARGET_MTF, len(self.bands))
            self.radius += sensor.GAIN_RADIUS
        self._interpolator = interpolation.GainInterpolator(self.ratio, low=least, high=largest, step=GAIN_STEP)

    # ---- observations ----

    def observe(self, inputs: Mapping[str, Tensor], instrument: Instrument | None = None) -> Observation:
        """Join a measured image with its instrument.

        Parameters
        ----------
        inputs
            {"image": (b, c, h, w)}.
        instrument
            `mtf`: gain at Nyquist, one number or one a band, the sensor's nominal ones where not given. `noise`:
            standard deviation of the noise as a share of the image's, unknown where not given. `target_mtf`, of models
            whose own is known: gain, at the Nyquist frequency of the target grid, of the image that is sought, that is
            how sharp the result is to be; as sharp as the model's where not given.

        Raises
        ------
        OptionError
            Where a name is none of these, or a number is out of its range.
        """
        image = inputs["image"]
        b, c = image.shape[:2]
        given = checked(instrument, self.limits, task="super-resolution")
        gains = torch.tensor(given.get("mtf", self.nominal.tolist())).expand(b, c).to(image.device)
        level = torch.tensor(given.get("noise", (0.0,))).expand(b).to(image.device)
        known = torch.ones(b, device=image.device)
        numbers = network_numbers(gains, level, gain_known=known, noise_known=known * ("noise" in given))
        forward = {"gain": gains}
        if self.settings.target_mtf is not None and "target_mtf" in given:
            forward["sharpness"] = torch.tensor(given["target_mtf"]).expand(b, c) / self.settings.target_mtf
        return Observation({"image": image}, forward, numbers)

    def simulate(self, clean: Tensor, generator: Generator | None, *, instrument_dropout: float = 0.0) -> Observation:
        """Degrade clean scenes by instruments drawn at random, or by the nominal one, free of noise.

        A share `instrument_dropout` of the scenes has an instrument that the network is not told: off its nominal
        gain, anisotropic, with its bands shifted against each other. The others are measured ones: their gain is
        told. Of these, too, half hide their noise.

        Parameters
        ----------
        clean
            (b, c, h, w), sides multiples of the ratio; zero in a band that a scene lacks.
        generator
            Source of the draws, on the device of `clean`; without it the instrument is the nominal one.
        instrument_dropout
            Share of unknown instruments.
        """
        b, c = clean.shape[:2]
        if generator is None:
            blank = clean.new_zeros(b, c, clean.shape[2] // self.ratio, clean.shape[3] // self.ratio)
            obs = self.observe({"image": blank})
            return replace(obs, inputs={"image": self.degrade(clean, obs)})
        settings = self.settings

        def uniform(*shape: int) -> Tensor:
            return torch.rand(shape, generator=generator, device=clean.device)

        low, high = settings.mtf_range
        known = (uniform(b) >= instrument_dropout).float()
        gain = low + (high - low) * (uniform(b, 1) + 0.3 * (uniform(b, c) - 0.5)).clamp(0, 1)
        unsure = (1 - known)[:, None, None]
        skew = torch.cat([d := settings.anisotropy * (uniform(b, 1, 1) - 0.5), -d], 2) * unsure
        shift = settings.shift * (2 * uniform(b, c, 2) - 1) * unsure
        sigma = sensor.mtf_sigma(gain, self.ratio)[..., None] * (1 + skew)
        image = sensor.degrade(clean, self.ratio, sigma=sigma, shift=shift, radius=self.blur_radius + 1)
        noise = torch.exp(math.log(settings.noise[0]) + math.log(settings.noise[1] / settings.noise[0]) * uniform(b))
        spread = image.std((2, 3), keepdim=True)
        white = torch.randn(image.shape, generator=generator, device=clean.device)
        image = image + noise[:, None, None, None] * spread * white
        nominal = self.nominal.to(gain).expand(b, c)
        told = torch.where(known[:, None] > 0, gain, nominal)
        numbers = network_numbers(told, noise, gain_known=known, noise_known=known * (uniform(b) < 0.5))
        return Observation({"image": image}, {"gain": told}, numbers)

    def degrade(self, high: Tensor, obs: Observation) -> Tensor:
        """The forward model without noise, for the observation's instrument."""
        sigma = sensor.mtf_sigma(obs.instrument["gain"].to(high.dtype), self.ratio)
        return sensor.degrade(high, self.ratio, sigma=sigma[..., None].expand(-1, -1, 2), radius=self.blur_radius)

    # ---- engine ----

    def _interpolate(self, low: Tensor, obs: Observation) -> Tensor:
        return self._interpolator(low, obs.instrument["gain"])

    def base(self, obs: Observation) -> Tensor:
        """Linear minimum-mean-square-error interpolation for the instrument's MTF, (b, c, h ratio, w ratio)."""
        return self._interpolate(obs.inputs["image"], obs)

    def condition(self, obs: Observation, base: Tensor) -> Condition:
        """Local scale and contrast-free maps of the base; see `local.contrast_free`."""
        return local.contrast_free(base)

    def project(self, x: Tensor, obs: Observation) -> Tensor:
        """Bring to the told sharpness; add the interpolated misfit of the degraded estimate, `projections` times."""
        if "sharpness" in obs.instrument:
            x = sensor.with_gain(x, obs.instrument["sharpness"])
        for _ in range(self.settings.projections):
            x = x + self._interpolate(obs.inputs["image"] - self.degrade(x, obs), obs)
        return x

    def baselines(self) -> Mapping[str, Callable[[Observation], Tensor]]:
        """Bicubic, Lanczos, 30 back-projections and the linear base itself."""
        return {
            "bicubic": lambda obs: interpolation.bicubic(obs.inputs["image"], self.ratio),
            "lanczos": lambda obs: interpolation.lanczos(obs.inputs["image"], self.ratio),
            "back_projection": lambda obs: back_projection.back_projection(
                obs.inputs["image"],
                degrade=lambda high: self.degrade(high, obs),
                upsample=lambda low: interpolation.bicubic(low, self.ratio),
            ),
            "linear": self.base,
        }
