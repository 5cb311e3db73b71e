"""Super-resolution of any bands by an integer factor, with the sensor's MTF as forward model."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Generator, Tensor

from sciddiff.baselines import back_projection, interpolation
from sciddiff.errors import OptionError
from sciddiff.physics import sensor
from sciddiff.recipe.tasks import SuperResolution as Settings
from sciddiff.tasks import local
from sciddiff.tasks.base import Condition, Input, Instrument, Observation, OneImage

GAIN_STEP = 0.01
"""Spacing of the gains for which interpolators are solved; between them they are mixed linearly."""


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
        self.blur_radius = sensor.blur_radius(min([settings.mtf_range[0], *self.nominal.tolist()]), self.ratio)
        interpolation_radius = (interpolation.MMSE_RADIUS + 1) * self.ratio
        rounds = settings.projections * (self.blur_radius + self.ratio + interpolation_radius)
        self.radius = interpolation_radius + local.RADIUS + rounds
        self._gains, self._filters = self._solve()

    def _solve(self) -> tuple[Tensor, Tensor]:
        low = min(self.settings.mtf_range[0], float(self.nominal.min()))
        high = max(self.settings.mtf_range[1], float(self.nominal.max()))
        count = max(2, math.ceil(round((high - low) / GAIN_STEP, 6)) + 1)
        gains = torch.linspace(low, high, count, dtype=torch.float64)
        filters = [interpolation.mmse_filters(gain, self.ratio) for gain in gains.tolist()]
        return gains, torch.stack(filters)

    # ---- observations ----

    def observe(self, inputs: Mapping[str, Tensor], instrument: Instrument | None = None) -> Observation:
        """Join a measured image with its instrument.

        Parameters
        ----------
        inputs
            {"image": (b, c, h, w)}.
        instrument
            `mtf`: gain at Nyquist, one number or one a band, the sensor's nominal ones where not given. `noise`:
            standard deviation of the noise as a share of the image's, unknown where not given.

        Raises
        ------
        OptionError
            Where a name is none of these, or a number is out of its range.
        """
        image = inputs["image"]
        b, c = image.shape[:2]
        given = self._checked(instrument or {})
        gains = torch.tensor(given.get("mtf", self.nominal.tolist())).expand(b, c).to(image.device)
        level = torch.tensor(given.get("noise", (0.0,))).expand(b).to(image.device)
        known = torch.ones(b, device=image.device)
        numbers = self._numbers(gains, level, gain_known=known, noise_known=known * ("noise" in given))
        return Observation({"image": image}, {"gain": gains}, numbers)

    def _checked(self, instrument: Instrument) -> Instrument:
        limits = {"mtf": (float(self._gains[0]), float(self._gains[-1]), len(self.bands)), "noise": (0.0, 1.0, 1)}
        for name, numbers in instrument.items():
            if name not in limits:
                raise OptionError(f"super-resolution knows no {name!r} of an instrument; it knows {', '.join(limits)}")
            low, high, most = limits[name]
            if len(numbers) not in (1, most) or not all(low <= number <= high for number in numbers):
                raise OptionError(f"{name} is {list(numbers)}; needs 1 or {most} numbers from {low:.3g} to {high:.3g}")
        return instrument

    def _numbers(self, gain: Tensor, noise: Tensor, *, gain_known: Tensor, noise_known: Tensor) -> Tensor:
        gains = (gain - 0.275) / 0.07 * gain_known[:, None]
        level = (torch.log(noise.clamp_min(1e-6)) - math.log(1e-3)) / 2 * noise_known
        return torch.cat([gains, gain_known[:, None], level[:, None], noise_known[:, None]], 1)

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
        numbers = self._numbers(told, noise, gain_known=known, noise_known=known * (uniform(b) < 0.5))
        return Observation({"image": image}, {"gain": told}, numbers)

    def degrade(self, high: Tensor, obs: Observation) -> Tensor:
        """The forward model without noise, for the observation's instrument."""
        sigma = sensor.mtf_sigma(obs.instrument["gain"].to(high.dtype), self.ratio)
        return sensor.degrade(high, self.ratio, sigma=sigma[..., None].expand(-1, -1, 2), radius=self.blur_radius)

    # ---- engine ----

    def _interpolate(self, low: Tensor, obs: Observation) -> Tensor:
        gain = obs.instrument["gain"].double()
        grid = self._gains.to(gain.device)
        at = (gain - grid[0]) / (grid[1] - grid[0])
        lower = at.floor().clamp(0, len(grid) - 2)
        part = (at - lower)[..., None, None, None, None].cpu()
        index = lower.long().cpu()
        filters = self._filters[index] * (1 - part) + self._filters[index + 1] * part
        return interpolation.polyphase(low, filters)

    def base(self, obs: Observation) -> Tensor:
        """Linear minimum-mean-square-error interpolation for the instrument's MTF, (b, c, h ratio, w ratio)."""
        return self._interpolate(obs.inputs["image"], obs)

    def condition(self, obs: Observation, base: Tensor) -> Condition:
        """Local scale and contrast-free maps of the base; see `local.contrast_free`."""
        return local.contrast_free(base)

    def project(self, x: Tensor, obs: Observation) -> Tensor:
        """Add the interpolated misfit of the degraded estimate, `projections` times."""
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
