"""Super-resolution of any bands by an integer factor, with the sensor's MTF as forward model."""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
import xarray as xr
from torch import Generator, Tensor

from sciddiff.baselines import back_projection, interpolation
from sciddiff.physics import microscope, sensor
from sciddiff.physics.optics import Optics, warn_sampling
from sciddiff.recipe.tasks import SuperResolution as Settings
from sciddiff.tasks import local
from sciddiff.tasks.base import LINEAR, Condition, Input, Instrument, Observation, OneImage
from sciddiff.tasks.instrument import checked, gain_range, network_numbers

GAIN_STEP = 0.01
"""Spacing of the gains for which interpolators are solved; between them they are mixed linearly."""
TARGET_MTF = (0.1, 0.95)
"""Range in which the target's own MTF may be told."""


class SuperResolution(OneImage):
    """x -> degrade(x) + noise, on a grid coarser by `ratio`; see `Task` for what each method does."""

    cheap: tuple[str, ...] = ("bicubic", "back_projection", LINEAR)

    def __init__(self, settings: Settings, bands: Sequence[str]):
        self.settings = settings
        self.ratio, self.channelwise = settings.ratio, settings.channelwise
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
        self._interpolator = self._make_interpolator(least, largest)

    def _make_interpolator(self, low: float, high: float) -> interpolation.GainInterpolator:
        return interpolation.GainInterpolator(self.ratio, low=low, high=high, step=GAIN_STEP)

    # ---- observations ----

    def survey(
        self,
        image: xr.DataArray,
        others: Mapping[str, Sequence[xr.DataArray]] | None = None,
        told: Instrument | None = None,
    ) -> Instrument:
        """The MTF that a microscope's optics mean, channel by channel, where the file tells of all of them.

        What the optics do not pass, and pixels that are too coarse for them, are warned of.
        """
        profile = image.encoding.get("stack")
        if not self.channelwise or profile is None:
            return {}
        known = [optics for optics in microscope.optics_of(profile) if optics is not None]
        for text in sorted({text for optics in known for text in self._sampling(optics)}):
            warnings.warn(text, stacklevel=2)
        if len(known) < len(profile.channels):
            return {}
        low, high, _ = self.limits["mtf"]
        return {"mtf": tuple(min(max(self._gain(optics), low), high) for optics in known)}

    def _sampling(self, optics: Optics) -> tuple[str, ...]:
        return warn_sampling(replace(optics, z_step=None), factor=self.ratio)

    def _gain(self, optics: Optics) -> float:
        return microscope.lateral_gain(optics)

    def observe(self, inputs: Mapping[str, Tensor], instrument: Instrument | None = None) -> Observation:
        """Join a measured image with its instrument.

        Parameters
        ----------
        inputs
            {"image": (b, c, h, w)}.
        instrument
            `mtf`: gain at Nyquist, one number or one a band, the sensor's nominal ones where not given (and unknown,
            where each channel is taken for itself). `noise`:
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
        told = known * float(not self.channelwise or "mtf" in given)
        numbers = network_numbers(gains, level, gain_known=told, noise_known=known * float("noise" in given))
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
            blank = clean.new_zeros(b, c, 1, 1)
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
        image = self._measure(clean, sigma=sigma, shift=shift, radius=self.blur_radius + 1)
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
        return self._measure(high, sigma=sigma[..., None].expand(-1, -1, 2), radius=self.blur_radius)

    def _measure(self, high: Tensor, *, sigma: Tensor, shift: Tensor | None = None, radius: int) -> Tensor:
        return sensor.degrade(high, self.ratio, sigma=sigma, shift=shift, radius=radius)

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
            LINEAR: self.base,
        }
