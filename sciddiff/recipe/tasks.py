"""What a recipe may say of each task."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from sciddiff.recipe.section import Faults, Gain, Mtf, Name, Positive, Section, Share, ordered, pair, repeated


class Settings(Section):
    """What all tasks have."""

    sensor: Literal[
        "generic",
        "sentinel2",
        "landsat8",
        "quickbird",
        "ikonos",
        "geoeye1",
        "worldview2",
        "worldview3",
        "worldview4",
        "gaofen2",
    ] = "generic"
    """The instrument whose nominal MTF is taken, band by band."""
    pixel_size: Annotated[tuple[Positive, Positive], BeforeValidator(pair)] | None = None
    """Smallest and largest pixel size of an input, in metres (2.0e-7 for 0.2 micrometres); null accepts any."""

    @property
    def zoom(self) -> int:
        """Target pixels along a pixel of the main image."""
        return 1

    @property
    def gains(self) -> Mapping[str, float]:
        """Gains at Nyquist that are given by band."""
        return {}

    def _faults(self) -> Faults:
        yield from ordered("pixel_size", self.pixel_size)


class SuperResolution(Settings):
    """From a low-resolution image to the grid that is `ratio` times finer."""

    kind: Literal["super_resolution"]
    """Which task this is."""
    ratio: Annotated[int, Field(ge=2, le=16)]
    """Low-resolution pixel size divided by high-resolution pixel size."""
    mtf: Mtf | None = None
    """Nominal MTF at the Nyquist frequency of the low-resolution grid, for all bands or by band, instead of the
    sensor's."""
    mtf_range: Annotated[tuple[Gain, Gain], BeforeValidator(pair)] = (0.15, 0.40)
    """Range of the MTF at Nyquist drawn in training, because real blur differs from nominal."""
    target_mtf: Gain | None = None
    """MTF at the Nyquist frequency of the target grid that samples have where nothing is told of it, measured on images
    whose own is known: what a told one is compared with; null: none can be told."""
    anisotropy: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Largest relative difference of the two blur widths drawn in training."""
    shift: Annotated[float, Field(ge=0, le=2)] = 0.5
    """Largest sub-pixel shift drawn in training, in high-resolution pixels."""
    noise: Annotated[tuple[Positive, Positive], BeforeValidator(pair)] = (1e-4, 2e-2)
    """Range of the white noise drawn in training (log-uniform), as a share of the low image's local standard
    deviation."""
    projections: Annotated[int, Field(ge=0, le=10)] = 2
    """Rounds of the matched projection of the result onto what was measured."""
    channelwise: bool = False
    """Whether a model of one band takes each channel of an image for itself, whatever its name."""

    def _faults(self) -> Faults:
        yield from super()._faults()
        for key in ("mtf_range", "noise"):
            yield from ordered(key, getattr(self, key))

    @property
    def zoom(self) -> int:
        """Target pixels along a pixel of the main image."""
        return self.ratio

    @property
    def gains(self) -> Mapping[str, float]:
        """Gains at Nyquist that are given by band."""
        return self.mtf if isinstance(self.mtf, dict) else {}


class Isotropic(SuperResolution):
    """From a stack with widely spaced planes to one with `ratio` times as many, as sharp in depth as across."""

    kind: Literal["isotropic"]  # type: ignore[assignment]
    """Which task this is."""
    mtf: Mtf | None = 0.3
    """Nominal MTF of the blur along depth at the Nyquist frequency of the planes' spacing."""
    mtf_range: Annotated[tuple[Gain, Gain], BeforeValidator(pair)] = (0.02, 0.60)
    """Range of it drawn in training."""
    noise: Annotated[tuple[Positive, Positive], BeforeValidator(pair)] = (1e-3, 0.1)
    """Range of the white noise drawn in training (log-uniform), as a share of the image's standard deviation."""
    projections: Annotated[int, Field(ge=0, le=10)] = 1
    """Rounds of the matched projection of the result onto the measured planes."""
    channelwise: bool = True
    """Whether a model of one band takes each channel of an image for itself, whatever its name."""


class Pansharpen(Settings):
    """From a coarse multispectral image and a fine panchromatic one, or several fine bands, to fine bands."""

    kind: Literal["pansharpen"]
    """Which task this is."""
    ratio: Annotated[int, Field(ge=2, le=16)]
    """Pixel size of the image divided by that of the guide."""
    guide: Annotated[list[Name], Field(min_length=1)] = ["pan"]
    """Bands of the fine image."""
    mtf: Mtf | None = None
    """Nominal MTF of the image's bands at their Nyquist frequency, instead of the sensor's."""
    mtf_range: Annotated[tuple[Gain, Gain], BeforeValidator(pair)] = (0.15, 0.40)
    """Range of the MTF at Nyquist drawn in training."""
    anisotropy: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Largest relative difference of the two blur widths drawn in training."""
    shift: Annotated[float, Field(ge=0, le=2)] = 0.5
    """Largest misregistration of image and guide drawn in training, in pixels of the guide."""
    noise: Annotated[tuple[Positive, Positive], BeforeValidator(pair)] = (1e-4, 2e-2)
    """Range of the white noise drawn in training (log-uniform), as a share of the image's standard deviation."""
    projections: Annotated[int, Field(ge=0, le=10)] = 2
    """Rounds of the matched projection of the result onto the image."""

    @property
    def zoom(self) -> int:
        """Target pixels along a pixel of the main image."""
        return self.ratio

    @property
    def gains(self) -> Mapping[str, float]:
        """Gains at Nyquist that are given by band."""
        return self.mtf if isinstance(self.mtf, dict) else {}

    def _faults(self) -> Faults:
        yield from super()._faults()
        for key in ("mtf_range", "noise"):
            yield from ordered(key, getattr(self, key))


class RemoveClouds(Settings):
    """Pixels under clouds and their shadows, from other dates or from their surroundings."""

    kind: Literal["remove_clouds"]
    """Which task this is."""
    dates: Annotated[int, Field(ge=0, le=8)] = 2
    """Most other dates that may be given."""
    detector: Name | None = "cloud-mask"
    """What finds clouds and shadows where no mask is given: a model of the task cloud_mask, by its shipped name or its
    path, or omnicloudmask where that package is installed; null: a mask must be given."""
    guide: list[Name] = []
    """Further bands that clouds do not hide, such as radar; the sources then need a guide with them."""
    cover: Annotated[tuple[Share, Share], BeforeValidator(pair)] = (0.1, 0.6)
    """Range of the cloud cover drawn in training."""
    gsd: Annotated[tuple[Positive, Positive], BeforeValidator(pair)] = (10.0, 30.0)
    """Range of the pixel size, in metres, of which clouds are drawn in training."""

    def _faults(self) -> Faults:
        yield from super()._faults()
        for key in ("cover", "gsd"):
            yield from ordered(key, getattr(self, key))


class CloudMask(Settings):
    """Where clouds and their shadows are."""

    kind: Literal["cloud_mask"]
    """Which task this is."""
    cover: Annotated[tuple[Share, Share], BeforeValidator(pair)] = (0.02, 0.9)
    """Range of the cloud cover drawn in training."""
    gsd: Annotated[tuple[Positive, Positive], BeforeValidator(pair)] = (10.0, 30.0)
    """Range of the pixel size, in metres, of which clouds are drawn in training."""
    cloud_from: Share = 0.2
    """Probability above which a pixel of the mask is cloud."""
    shadow_from: Share = 0.4
    """Probability above which a pixel of the mask is shadow."""
    dilate: Annotated[int, Field(ge=0, le=16)] = 2
    """Pixels by which clouds and shadows of the mask are widened."""

    def _faults(self) -> Faults:
        yield from super()._faults()
        for key in ("cover", "gsd"):
            yield from ordered(key, getattr(self, key))


class Dehaze(Settings):
    """The surface under haze and thin cloud, by the scattering model."""

    kind: Literal["dehaze"]
    """Which task this is."""
    wavelengths: dict[str, Positive] | None = None
    """Centre wavelength of each band in micrometres, where the sensor's table does not tell."""
    strength: Annotated[tuple[Share, Share], BeforeValidator(pair)] = (0.05, 0.9)
    """Range of the haze's greatest thickness (one minus its transmission at 0.443 micrometres) drawn in training,
    uniform in its logarithm."""
    clear: Share = 0.18
    """Share of the training scenes without haze, so that a clear image comes out as it went in."""
    even: Share = 0.0
    """Share of the hazes of which a part is the same everywhere, as the veil of the air is."""
    bare: Share = 0.0
    """Share of the training scenes whose ground is made bare and bright: desert, dry soil, salt, snow."""

    def _faults(self) -> Faults:
        yield from super()._faults()
        yield from ordered("strength", self.strength)


class FillGaps(Settings):
    """Missing pixels: gaps between scans, dropped lines, dead columns, any mask."""

    kind: Literal["fill_gaps"]
    """Which task this is."""
    dates: Annotated[int, Field(ge=0, le=8)] = 1
    """Most other dates that may be given."""
    widest: Annotated[int, Field(ge=1, le=128)] = 48
    """Pixels between valid ones, along a row or a column, up to which invalid ones count as a gap."""


class Destripe(Settings):
    """Stripes of detectors that differ: each line has a gain and an offset of its own."""

    kind: Literal["destripe"]
    """Which task this is."""
    lines: Literal["columns", "rows"] = "columns"
    """What belongs to one detector: columns of a push-broom sensor, rows of a whisk-broom sensor."""
    gain: Annotated[float, Field(gt=0, le=0.2)] = 0.02
    """Nominal standard deviation of the relative gains; training draws up to twice that."""
    offset: Annotated[float, Field(gt=0, le=0.2)] = 0.01
    """Nominal standard deviation of the offsets, as a share of a band's range; training draws up to twice that."""


class Neighbours(Section):
    """Further planes of a stack that a task sees beside the one that it restores."""

    along: Literal["z", "t"]
    """Whether they lie above and below, or before and after."""
    planes: Annotated[int, Field(ge=1, le=4)] = 1
    """How many on each side."""


class Denoise(Settings):
    """Noise of photons and electronics in one band, such as a channel of a fluorescence microscope."""

    kind: Literal["denoise"]
    """Which task this is."""
    dose: Annotated[tuple[Positive, Positive], BeforeValidator(pair)] = (3.0, 2000.0)
    """Range of the electrons that bright structures have above the background, drawn in training (log-uniform)."""
    background: Annotated[tuple[Positive, Positive], BeforeValidator(pair)] = (0.3, 100.0)
    """Range of the electrons of the background, likewise."""
    read_noise: Annotated[tuple[Positive, Positive], BeforeValidator(pair)] = (0.1, 5.0)
    """Range of the standard deviation of the read noise in electrons, likewise."""
    neighbours: Neighbours | None = None
    """Planes of a stack that are seen beside the one that is restored; null: each plane is taken for itself."""

    def _faults(self) -> Faults:
        yield from super()._faults()
        for key in ("dose", "background", "read_noise"):
            yield from ordered(key, getattr(self, key))


class Deconvolve(Settings):
    """The blur of a microscope's optics taken off one channel, on the same pixels or `ratio` times finer ones."""

    kind: Literal["deconvolve"]
    """Which task this is."""
    ratio: Annotated[int, Field(ge=1, le=8)] = 1
    """Pixel size of the image divided by that of the result."""
    psf: Positive = 1.5
    """Standard deviation of the point spread function in pixels of the image, where nothing is told of it."""
    psf_range: Annotated[tuple[Positive, Positive], BeforeValidator(pair)] = (0.6, 3.0)
    """Range of it drawn in training, and in which one may be told."""
    noise: Annotated[tuple[Positive, Positive], BeforeValidator(pair)] = (3e-3, 0.5)
    """Range of the noise drawn in training (log-uniform), as a share of the image's standard deviation; any part of its
    variance is that of counted light."""

    @property
    def zoom(self) -> int:
        """Target pixels along a pixel of the main image."""
        return self.ratio

    def _faults(self) -> Faults:
        yield from super()._faults()
        for key in ("psf_range", "noise"):
            yield from ordered(key, getattr(self, key))
        if not self.psf_range[0] <= self.psf <= self.psf_range[1]:
            yield "psf", f"got {self.psf}, expected a width within psf_range, {list(self.psf_range)}"


class DehazeWidefield(Settings):
    """Light of other planes taken off one channel of a widefield microscope, plane by plane."""

    kind: Literal["dehaze_widefield"]
    """Which task this is."""
    haze: Annotated[tuple[Positive, Positive], BeforeValidator(pair)] = (0.2, 4.0)
    """Range of the mean of the light out of focus over that of the light in focus, drawn in training (log-uniform)."""
    defocus: Annotated[tuple[Positive, Positive], BeforeValidator(pair)] = (2.5, 10.0)
    """Range of the standard deviation, in pixels, of a point in the nearest plane that is out of focus, likewise."""
    background: Annotated[tuple[Positive, Positive], BeforeValidator(pair)] = (0.02, 2.0)
    """Range of the mean of the smooth background over that of the light in focus, likewise."""
    dose: Annotated[tuple[Positive, Positive], BeforeValidator(pair)] = (30.0, 5000.0)
    """Range of the electrons that bright structures in focus give, likewise."""
    read_noise: Annotated[tuple[Positive, Positive], BeforeValidator(pair)] = (0.5, 5.0)
    """Range of the standard deviation of the read noise in electrons, likewise."""
    neighbours: Neighbours | None = None
    """Planes of a stack that are seen beside the one in focus; null: each plane is taken for itself."""

    def _faults(self) -> Faults:
        yield from super()._faults()
        for key in ("haze", "defocus", "background", "dose", "read_noise"):
            yield from ordered(key, getattr(self, key))


class Translate(Settings):
    """Channels that were not stained, from others of the same pixels."""

    kind: Literal["translate"]
    """Which task this is."""
    targets: Annotated[list[Name], Field(min_length=1)]
    """Bands of the result, which the sources hold as a guide."""
    linear: list[list[float]] | None = None
    """The base: for each target one weight a band, then a constant, in levels (zero in the dark, one in bright
    structures); null: found by least squares over training windows when a training begins."""

    def _faults(self) -> Faults:
        yield from super()._faults()
        yield from repeated("targets", self.targets)
        if self.linear is not None and len(self.linear) != len(self.targets):
            yield "linear", f"got {len(self.linear)} rows, expected {len(self.targets)}: one a target"


class Synthesis(Settings):
    """New images whose labels are known, from masks, class, numbers and style; each may be left open."""

    kind: Literal["synthesis"]
    """Which task this is."""
    labels: Literal["instances", "classes"] = "instances"
    """What a mask says: which object a pixel belongs to (0 the background, any other value one object), or its
    class."""
    classes: dict[str, Annotated[int, Field(ge=0)]] = {}
    """Class names and their values in masks; of instances in a second band, where given. Values that none has are
    refused, but for 0, which then says nothing."""
    reach: Annotated[int, Field(ge=2, le=64)] = 16
    """Pixels up to which the distance to an object's boundary is told, for instances."""
    image_classes: list[Name] = []
    """Classes of whole images, such as cell lines: of a training source its `image_class`."""
    numbers: dict[str, Annotated[tuple[float, float], BeforeValidator(pair)]] = {}
    """Further numbers of an image, such as gsd, month, latitude, na or exposure, and the range of each: of a training
    source its `numbers`."""
    style: bool = True
    """Whether a reference image may say how images look: their quantiles and the strength of their detail."""
    unit: Literal["levels", "physical", "distance"] = "levels"
    """Of the images: levels (zero in the dark, one in bright structures, of the whole file), physical values such as
    reflectance, or, for a model of label structure whose sources are masks, signed distances to the objects' boundaries
    in units of `reach`."""
    knee: Positive = 0.1
    """Value above which contrasts count relatively rather than absolutely: images are learned as asinh(x / knee)."""
    centre: list[float] | None = None
    """Mean of each band of asinh(x / knee); null: measured over training windows when a training begins."""
    georeferenced: bool = False
    """Whether masks must have a coordinate reference system."""

    def _faults(self) -> Faults:
        yield from super()._faults()
        yield from repeated("image_classes", self.image_classes)
        yield from repeated("classes", list(self.classes.values()))
        if self.labels == "classes" and not self.classes:
            yield "classes", "got none, expected names and values: labels are classes"
        taken = sorted({"image_class", "style", "mask", "dark", "bright"} & set(self.numbers))
        if taken:
            yield "numbers", f"got {', '.join(taken)}, expected other names: these say something else"
        for name, limits in self.numbers.items():
            if not limits[0] < limits[1]:
                yield f"numbers.{name}", f"got {list(limits)}, expected the smaller number first"
