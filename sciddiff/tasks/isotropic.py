"""Axial restoration: planes between those of a stack, learned from the sharpness that its planes have."""

import warnings
from collections.abc import Callable, Mapping, Sequence

import xarray as xr
from torch import Tensor

from sciddiff.baselines import interpolation
from sciddiff.io.stack_profile import StackProfile
from sciddiff.physics import microscope, sensor
from sciddiff.physics.optics import Optics, warn_sampling
from sciddiff.recipe.tasks import Isotropic as Settings
from sciddiff.tasks.base import LINEAR, Input, Instrument, Observation
from sciddiff.tasks.super_resolution import GAIN_STEP, SuperResolution

UNLIKE = 2.0
"""Pixels over planes of a result, or planes over pixels, from which on sections are not what was learned."""


class Isotropic(SuperResolution):
    """Super-resolution along the rows of sections in depth: blur along depth, one plane measured of `ratio`.

    In training the sections are planes themselves, blurred and thinned along one axis: what is sharp across them is
    the truth (Weigert et al. 2018, CARE; isotropic reconstruction). See `Task` for what each method does.
    """

    cheap: tuple[str, ...] = ("bicubic", LINEAR)

    def __init__(self, settings: Settings, bands: Sequence[str]):
        super().__init__(settings, bands)
        self.inputs = (Input("image", self.bands),)
        self.depth_ratio = settings.ratio

    def survey(
        self,
        image: xr.DataArray,
        others: Mapping[str, Sequence[xr.DataArray]] | None = None,
        told: Instrument | None = None,
    ) -> Instrument:
        """As of super-resolution; planes that will lie elsewhere than as close as pixels are warned of, too."""
        profile = image.encoding.get("stack")
        if profile is not None and (text := self._spacing(profile)):
            warnings.warn(text, stacklevel=2)
        return super().survey(image, others, told)

    def _spacing(self, profile: StackProfile) -> str:
        pixel, plane = profile.pixel_size.x, profile.pixel_size.z
        if pixel is None or plane is None:
            return (
                "the stack does not say how large pixels are and how far planes are apart; the result is as sharp in "
                f"depth as across only if that is {self.ratio} pixels"
            )
        if 1 / UNLIKE < plane / self.ratio / pixel < UNLIKE:
            return ""
        return (
            f"planes are {plane:.4g} um apart, which is {plane / pixel:.3g} pixels; the model is for {self.ratio} "
            f"pixels: planes of the result, {plane / self.ratio:.4g} um apart, are not as close as pixels"
        )

    def _make_interpolator(self, low: float, high: float) -> interpolation.GainInterpolator:
        return interpolation.LineInterpolator(self.ratio, low=low, high=high, step=GAIN_STEP)

    def _sampling(self, optics: Optics) -> tuple[str, ...]:
        return warn_sampling(optics, z_factor=self.ratio)

    def _gain(self, optics: Optics) -> float:
        gain = microscope.axial_gain(optics)
        return float(self.nominal[0]) if gain is None else gain

    def _measure(self, high: Tensor, *, sigma: Tensor, shift: Tensor | None = None, radius: int) -> Tensor:
        along = None if shift is None else shift[..., 0]
        return sensor.degrade_rows(high, self.ratio, sigma=sigma[..., 0], shift=along, radius=radius)

    def baselines(self) -> Mapping[str, Callable[[Observation], Tensor]]:
        """Linear and cubic interpolation between planes, and the linear base itself."""
        return {
            "linear_rows": lambda obs: interpolation.linear_rows(obs.inputs["image"], self.ratio),
            "bicubic": lambda obs: interpolation.cubic_rows(obs.inputs["image"], self.ratio),
            LINEAR: self.base,
        }
