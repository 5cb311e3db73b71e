"""Deconvolution of one channel of a microscope: the blur of the optics taken off, on the same pixels or finer ones."""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Generator, Tensor

from sciddiff.baselines import deconvolution, interpolation
from sciddiff.baselines.wiener_filters import Deconvolver
from sciddiff.errors import InputError, OptionError
from sciddiff.physics import camera, microscope, sensor
from sciddiff.physics.fractal import uniform
from sciddiff.physics.gaussian_psf import gaussian_psf
from sciddiff.physics.optics import warn_sampling
from sciddiff.recipe.tasks import Deconvolve as Settings
from sciddiff.tasks import local
from sciddiff.tasks.base import LINEAR, Condition, Input, Instrument, Observation, OneImage
from sciddiff.tasks.instrument import checked
from sciddiff.tasks.look import sampled

WIDTH_STEP = 0.1
"""Spacing of the widths, in input pixels, for which filters are solved."""
MISJUDGED = 0.2
"""Standard deviation of the logarithm by which a told noise level is off in training: it is estimated in use."""
UNKNOWN_NOISE = 0.3
"""Share of the training scenes whose noise level is not told."""
ITERATIONS = 20
"""Of Richardson-Lucy."""


class Deconvolve(OneImage):
    """x -> noise(bin(blur(x))): a Gaussian of some pixels, pixels that add up light, photons; see `Task`.

    Nothing is projected: agreement with a blurred, noisy image to the last digit is agreement with its noise. `degrade`
    says what the image would be of a result, so that the misfit can be looked at.
    """

    channelwise = True
    numbers = 4
    maps = 3

    def __init__(self, settings: Settings, bands: Sequence[str]):
        if len(bands) != 1:
            raise OptionError(f"deconvolution takes one band, got {', '.join(bands)}; each channel has its own blur")
        self.settings, self.ratio = settings, settings.ratio
        self.bands = self.scene_bands = tuple(bands)
        self.inputs: tuple[Input, ...] = (Input("image", self.bands, self.ratio),)
        self.stride = math.lcm(self.ratio, local.CELL)
        low, high = settings.psf_range
        self.limits = {"psf": (low, high, 1), "noise": (0.0, math.inf, 1)}
        self.blur_radius = math.ceil(4 * high * self.ratio)
        self._filters = Deconvolver(self.ratio, widths=(low, high), noise=settings.noise, step=WIDTH_STEP)
        self.radius = (self._filters.radius + 1) * self.ratio + local.RADIUS

    # ---- observations ----

    def survey(
        self,
        image: xr.DataArray,
        others: Mapping[str, Sequence[xr.DataArray]] | None = None,
        told: Instrument | None = None,
    ) -> Instrument:
        """Widths from the optics that the file tells, where it tells those of all channels; noise from the image.

        Returns
        -------
        Instrument
            `psf` and `noise`, one number a channel; see `observe`.
        """
        found = {"noise": tuple(_noise_share(sampled(image.isel(band=at))) for at in range(image.sizes["band"]))}
        profile = image.encoding.get("stack")
        known = [] if profile is None else [optics for optics in microscope.optics_of(profile) if optics is not None]
        for text in sorted(
            {text for each in known for text in warn_sampling(replace(each, z_step=None), factor=self.ratio)}
        ):
            warnings.warn(text, stacklevel=2)
        if profile is None or len(known) < len(profile.channels):
            return found
        low, high, _ = self.limits["psf"]
        return {**found, "psf": tuple(min(max(microscope.lateral_width(optics), low), high) for optics in known)}

    def observe(self, inputs: Mapping[str, Tensor], instrument: Instrument | None = None) -> Observation:
        """Join an image with what is known of its instrument.

        Parameters
        ----------
        inputs
            {"image": (b, 1, h, w)}.
        instrument
            `psf`: standard deviation of the point spread function in pixels of the image; nominal and unknown where not
            given. `noise`: root of the noise's mean variance over the image's standard deviation, likewise.

        Raises
        ------
        OptionError
            Where a name is neither, or a number is out of its range.
        """
        image = inputs["image"]
        given = checked(instrument, self.limits, task="deconvolution")
        ones = image.new_ones(len(image), dtype=torch.float32)
        width = ones * given.get("psf", (self.settings.psf,))[0]
        noise = ones * given.get("noise", (self._middle_noise,))[0]
        numbers = _numbers(width, noise, width_known=ones * ("psf" in given), noise_known=ones * ("noise" in given))
        return Observation({"image": image}, {"width": width, "noise": noise}, numbers)

    @property
    def _middle_noise(self) -> float:
        return math.sqrt(math.prod(self.settings.noise))

    def simulate(self, clean: Tensor, generator: Generator | None, *, instrument_dropout: float = 0.0) -> Observation:
        """Look at clean scenes with optics and cameras drawn for each; the nominal ones, told, without a generator.

        Parameters
        ----------
        clean
            (b, 1, h, w) in any unit, sides multiples of the ratio.
        generator
            Source of the draws; without it the blur is the nominal one and the noise that of the middle of its range,
            from a fixed seed.
        instrument_dropout
            Share of the scenes whose blur is not told: the base then takes the nominal width.
        """
        b, settings = len(clean), self.settings
        source = torch.Generator(clean.device).manual_seed(0) if generator is None else generator

        def drawn(low: float, high: float) -> Tensor:
            return uniform(source, (b,), low=low, high=high).to(clean)

        width = drawn(*settings.psf_range)
        level = torch.exp(drawn(*map(math.log, settings.noise)))
        known, heard = (drawn(0, 1) >= share for share in (instrument_dropout, UNKNOWN_NOISE))
        photons, off = drawn(0, 1), torch.exp(MISJUDGED * torch.randn(b, generator=source, device=clean.device))
        if generator is None:
            width, level = torch.full_like(width, settings.psf), torch.full_like(level, self._middle_noise)
            known, heard, photons, off = known | True, heard | True, torch.full_like(photons, 0.5), torch.ones_like(off)
        image = _noisy(self._measure(clean, width), level, photons, source)
        told = torch.where(known, width, settings.psf)
        noise = torch.where(heard, level * off, self._middle_noise)
        numbers = _numbers(told, noise, width_known=known.to(told), noise_known=heard.to(told))
        return Observation({"image": image}, {"width": told, "noise": noise}, numbers)

    def _measure(self, high: Tensor, width: Tensor) -> Tensor:
        """What pixels of widths (b,) see of scenes: blurred, then the light of each block added up, as a mean."""
        sigma = (width.to(high) * self.ratio)[:, None, None].expand(-1, high.shape[1], 2)
        blurred = sensor.degrade(high, 1, sigma=sigma, radius=self.blur_radius)
        return camera.bin_photons(blurred, self.ratio) / self.ratio**2

    def degrade(self, high: Tensor, obs: Observation) -> Tensor:
        """The forward model without noise, for the observation's width."""
        return self._measure(high, obs.instrument["width"])

    # ---- engine ----

    def base(self, obs: Observation) -> Tensor:
        """Wiener filters of finite support for the width and the noise, (b, 1, h ratio, w ratio)."""
        return self._filters(obs.inputs["image"], obs.instrument["width"][:, None], obs.instrument["noise"])

    def condition(self, obs: Observation, base: Tensor) -> Condition:
        """Local scale and maps of the base, see `local.contrast_free`, and what the base did to the image.

        The scale is that of the base's detail times what the filters leave of a scene over the detail that they give.
        """
        free = local.contrast_free(base)
        change = (self._enlarged(obs.inputs["image"]) - base) / free.scale
        left = self._filters.missing(obs.instrument["width"], obs.instrument["noise"], side=local.DETAIL)
        scale = free.scale * left.to(base)[:, None, None, None]
        return Condition(scale=scale, maps=torch.cat([free.maps, change], 1).clamp(-10, 10))

    def _enlarged(self, image: Tensor) -> Tensor:
        return image if self.ratio == 1 else interpolation.bicubic(image, self.ratio)

    def project(self, x: Tensor, obs: Observation) -> Tensor:
        """As it is."""
        return x

    def baselines(self) -> Mapping[str, Callable[[Observation], Tensor]]:
        """Richardson-Lucy and Wiener's filter with a curvature penalty on the enlarged image, and the base itself."""
        return {
            "as_measured": lambda obs: self._enlarged(obs.inputs["image"]),
            "richardson_lucy": lambda obs: self._one_by_one(obs, _richardson_lucy),
            "wiener": lambda obs: self._one_by_one(obs, _wiener),
            LINEAR: self.base,
        }

    def _one_by_one(self, obs: Observation, method: Callable[..., NDArray[np.floating]]) -> Tensor:
        images = self._enlarged(obs.inputs["image"])[:, 0].double().cpu().numpy()
        numbers = zip(images, obs.instrument["width"].tolist(), obs.instrument["noise"].tolist())
        done = [method(image, self._psf(width), noise) for image, width, noise in numbers]
        return torch.from_numpy(np.stack(done))[:, None].to(obs.inputs["image"])

    def _psf(self, width: float) -> NDArray[np.floating]:
        """The blur on fine pixels, that of adding up the light of a block in it by its variance, (r^2 - 1) / 12."""
        fine = math.sqrt((width * self.ratio) ** 2 + (self.ratio**2 - 1) / 12)
        return np.asarray(gaussian_psf((fine, fine)))


def _numbers(width: Tensor, noise: Tensor, *, width_known: Tensor, noise_known: Tensor) -> Tensor:
    """Width and noise level (b,) as the network sees them, (b, 4): zero with a zero flag where unknown."""
    level = (torch.log(noise.clamp_min(1e-4)) - math.log(0.03)) / 2
    return torch.stack([(width - 1.5) * width_known, width_known, level * noise_known, noise_known], 1).float()


def _noisy(image: Tensor, level: Tensor, photons: Tensor, source: Generator) -> Tensor:
    """Noise of `level` times the spread of each image, a share `photons` of its mean variance that of counted light.

    The light is what exceeds the darkest pixel.
    """
    dark = image.amin((1, 2, 3), keepdim=True)
    light, mean = image - dark, image.mean((1, 2, 3), keepdim=True) - dark
    tiny = torch.finfo(image.dtype).tiny ** 0.5
    variance = (level.view(-1, 1, 1, 1) * image.std((1, 2, 3), keepdim=True)) ** 2
    share = photons.view(-1, 1, 1, 1).clamp(0.01, 0.99)
    an_electron = (share * variance / mean.clamp_min(tiny)).clamp_min(tiny)
    counted = an_electron * torch.poisson(light / an_electron, generator=source)
    white = torch.randn(image.shape, generator=source, device=image.device)
    return dark + counted + ((1 - share) * variance).sqrt() * white


def _noise_share(planes: NDArray[np.floating]) -> float:
    """Root of the mean noise variance over the spread of planes (n, h, w); 0 where there is no noise to find."""
    from sciddiff.physics.noise_estimation import noise_law

    try:
        gain, variance = noise_law(planes)
    except InputError:
        return 0.0
    spread = float(np.nanstd(planes.astype(np.float64)))
    return math.sqrt(max(gain * float(np.nanmean(planes)) + variance, 0)) / spread if spread > 0 else 0.0


def _richardson_lucy(image: NDArray[np.floating], psf: NDArray[np.floating], _noise: float) -> NDArray[np.floating]:
    dark = float(np.quantile(image, 0.01))
    if not image.max() > dark:
        return image
    return dark + deconvolution.richardson_lucy(image, psf, iterations=ITERATIONS, background=dark)


def _wiener(image: NDArray[np.floating], psf: NDArray[np.floating], noise: float) -> NDArray[np.floating]:
    """Weight of the curvature: the noise's variance over that of the image's Laplacian less the noise's part of it."""
    curvature = 4 * image - sum(np.roll(image, shift, axis) for shift in (-1, 1) for axis in (0, 1))
    variance = max((noise * image.std()) ** 2, 1e-12)
    of_scene = max(float(curvature.var()) - 20 * variance, 0.05 * float(curvature.var()), 1e-12)
    return deconvolution.wiener(image, psf, balance=variance / of_scene)
