"""What a raster file says beside its pixels: all that is needed to write it back bit for bit."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from affine import Affine

from sciddiff.io.radiometry import Radiometry, band_radiometry, holds, radiometry_tag

if TYPE_CHECKING:
    from rasterio.rpc import RPC

Tags = Mapping[str, Mapping[str, str]]
"""Tags by namespace; the default namespace is the empty string."""

Colormap = Mapping[int, tuple[int, int, int, int]]


class RasterWarning(UserWarning):
    """Something of a raster that cannot be kept as it was, named."""


class Gcp(NamedTuple):
    """A ground control point: pixel (col, row), counted from the corner of the first pixel, lies at (x, y, z)."""

    row: float
    col: float
    x: float
    y: float
    z: float | None = None
    id: str | None = None
    info: str | None = None


@dataclass(frozen=True)
class BandProfile:
    """What a file says about one band."""

    name: str
    """Name of the band in the image; unique in the file."""
    description: str | None = None
    nodata: float | int | None = None
    scale: float = 1.0
    offset: float = 0.0
    units: str | None = None
    tags: Tags = field(default_factory=dict)
    colorinterp: str = "undefined"
    colormap: Colormap | None = None


@dataclass(frozen=True)
class Source:
    """The file that an image was read from, to look up what stands under its mask."""

    path: str
    size: int | None
    """In bytes; None if it is no local file."""
    modified: int | None
    """In nanoseconds."""
    indexes: tuple[int, ...]
    """1-based file band of each band of the profile."""
    alpha: int | None
    """1-based file band that holds validity."""
    transform: Affine


@dataclass(frozen=True)
class RasterProfile:
    """Everything about a raster but its pixels; travels as `image.encoding["raster"]`.

    GCPs, RPCs and `transform` belong together: `on_grid` moves them to another pixel grid of the same ground.
    """

    dtype: str
    bands: tuple[BandProfile, ...]
    transform: Affine = field(default_factory=Affine.identity)
    crs_wkt: str | None = None
    tags: Tags = field(default_factory=dict)
    gcps: tuple[Gcp, ...] = ()
    gcp_crs_wkt: str | None = None
    rpcs: RPC | None = None
    mask: bool = False
    """Has a per-dataset mask."""
    alpha: BandProfile | None = None
    """A band that holds validity and is no band of the image."""
    alpha_at: int = 0
    """0-based place of the alpha band in the file."""
    block: tuple[int, int] = (512, 512)
    """Height and width of the blocks of the file."""
    source: Source | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Band names."""
        return tuple(band.name for band in self.bands)

    @property
    def nodata(self) -> float | int | None:
        """The nodata value, or the first if bands differ."""
        return next((band.nodata for band in self.bands if band.nodata is not None), None)

    @property
    def scales(self) -> tuple[float, ...]:
        """GDAL scale of each band."""
        return tuple(band.scale for band in self.bands)

    @property
    def offsets(self) -> tuple[float, ...]:
        """GDAL offset of each band."""
        return tuple(band.offset for band in self.bands)

    @property
    def descriptions(self) -> tuple[str | None, ...]:
        """GDAL description of each band."""
        return tuple(band.description for band in self.bands)

    @property
    def units(self) -> tuple[str | None, ...]:
        """Unit of the physical values of each band."""
        return tuple(band.units for band in self.bands)

    @property
    def mask_kind(self) -> str:
        """How the file says which pixels are valid: nodata, alpha, mask, nan, or none; joined by + if several."""
        kinds = [
            kind
            for kind, present in (
                ("nodata", self.nodata is not None),
                ("alpha", self.alpha is not None),
                ("mask", self.mask),
                ("nan", np.dtype(self.dtype).kind == "f"),
            )
            if present
        ]
        return "+".join(kinds) or "none"

    @property
    def georeferenced(self) -> bool:
        """Has a transform, GCPs or RPCs."""
        return not self.transform.is_identity or bool(self.gcps) or self.rpcs is not None

    @property
    def radiometry(self) -> tuple[Radiometry, ...]:
        """From stored to physical values, for each band."""
        general = self.tags.get("", {})
        return tuple(
            band_radiometry(
                band.scale,
                band.offset,
                name=band.name,
                dtype=self.dtype,
                band_tags=band.tags.get("", {}),
                dataset_tags=general,
            )
            for band in self.bands
        )

    def select(self, names: Sequence[str]) -> RasterProfile:
        """Return the profile of the named bands, in that order; names that it lacks become plain bands, with a warning.

        Parameters
        ----------
        names
            Band names.
        """
        if tuple(names) == self.names:
            return self
        known = {band.name: at for at, band in enumerate(self.bands)}
        missing = [name for name in names if name not in known]
        if missing:
            message = f"bands {', '.join(missing)} are not in the source: their scale, units and tags are not known"
            warnings.warn(message, RasterWarning, stacklevel=2)
        bands = tuple(self.bands[known[name]] if name in known else self._plain(name) for name in names)
        source = self.source
        if source is not None:
            indexes = tuple(source.indexes[known[name]] for name in names if name in known)
            source = None if missing else replace(source, indexes=indexes)
        return replace(self, bands=bands, source=source, alpha_at=min(self.alpha_at, len(bands)))

    def _plain(self, name: str) -> BandProfile:
        return BandProfile(name, description=name, nodata=self.nodata)

    def rescaled(self, ratio: float) -> RasterProfile:
        """Return the profile for pixels `ratio` times smaller (a finer grid if ratio > 1) on the same ground.

        Parameters
        ----------
        ratio
            Old pixel size divided by new pixel size.
        """
        return self.on_grid(compose(self.transform, Affine.scale(1 / ratio)))

    def on_grid(self, transform: Affine) -> RasterProfile:
        """Return the profile for another pixel grid of the same CRS: a crop, a finer or a coarser one.

        GDAL counts GCP pixels from the corner of the first pixel, and RPC lines and samples from its centre, so
        with new = k old + d in corner coordinates a GCP follows that, and RPC has scale' = k scale,
        offset' = k (offset + 1/2) + d - 1/2. TIFF's pixels a length become k times as many. Statistics tags, which
        describe other pixels, are dropped with a warning, and so are RPCs if the axes turn.

        Parameters
        ----------
        transform
            Affine of the new grid.
        """
        if transform == self.transform:
            return self
        changes: dict[str, Any] = {"transform": transform}
        if not self.transform.is_degenerate and not transform.is_degenerate:
            to_new = compose(~transform, self.transform)
            changes["gcps"] = tuple(_moved_gcp(point, to_new) for point in self.gcps)
            changes["rpcs"] = None if self.rpcs is None else _moved_rpcs(self.rpcs, to_new)
            changes["tags"] = _closer(self.tags, to_new)
        return replace(self, **changes).without_statistics()

    def without_statistics(self) -> RasterProfile:
        """Return the profile without STATISTICS_ tags, which describe the pixels of the source; a warning says so."""
        tags, stale = _without(self.tags, "STATISTICS_")
        bands = []
        for band in self.bands:
            band_tags, dropped = _without(band.tags, "STATISTICS_")
            stale += dropped
            bands.append(replace(band, tags=band_tags))
        if not stale:
            return self
        message = "the STATISTICS_ tags are not kept: they describe the pixels of the source"
        warnings.warn(message, RasterWarning, stacklevel=3)
        return replace(self, bands=tuple(bands), tags=tags)

    def with_dtype(self, dtype: str) -> RasterProfile:
        """Return the profile for pixels stored as another type; what changes with it is named in a warning.

        Floats store physical values, so scale, offset and the tags of a radiometric offset go, and nodata is NaN.
        Integers keep scale and offset, and keep nodata where it fits, else take the lowest (signed) or highest value.

        Parameters
        ----------
        dtype
            Name of a NumPy type.
        """
        dtype = np.dtype(dtype).name
        if dtype == self.dtype:
            return self
        if np.dtype(dtype).kind == "f":
            return self._as_float(dtype)
        limits = np.iinfo(dtype)
        spare = limits.min if limits.min < 0 else limits.max
        fits = self.nodata is None or holds(dtype, self.nodata)
        bands = self.bands if fits else tuple(replace(band, nodata=spare) for band in self.bands)
        if np.dtype(self.dtype).kind == "f" and fits and self.nodata is None:
            bands = tuple(replace(band, nodata=spare) for band in self.bands)
        message = f"stored as {dtype} instead of {self.dtype}"
        if bands is not self.bands:
            message += f", with nodata {spare} instead of {self.nodata}"
        warnings.warn(message, RasterWarning, stacklevel=2)
        return replace(self, dtype=dtype, bands=bands, source=None)

    def _as_float(self, dtype: str) -> RasterProfile:
        dropped = ["scale and offset"] if any(not plain.identity for plain in self.radiometry) else []
        tags, bands = self.tags, []
        if dropped:
            general = {key: text for key, text in self.tags.get("", {}).items() if not radiometry_tag(key)}
            tags = {**self.tags, "": general}
        for band in self.bands:
            own = {key: text for key, text in band.tags.get("", {}).items() if not radiometry_tag(key)}
            band_tags = {**band.tags, "": own} if dropped and "" in band.tags else band.tags
            bands.append(replace(band, scale=1.0, offset=0.0, nodata=math.nan, colormap=None, tags=band_tags))
        if self.nodata is not None:
            dropped.append(f"nodata {self.nodata}")
        dropped += ["the colour table"] if any(band.colormap for band in self.bands) else []
        dropped += ["the alpha band"] if self.alpha is not None else []
        message = f"stored as {dtype} instead of {self.dtype}: physical values, NaN where invalid"
        if dropped:
            message += f"; not kept: {', '.join(dropped)}"
        warnings.warn(message, RasterWarning, stacklevel=3)
        return replace(self, dtype=dtype, bands=tuple(bands), tags=tags, alpha=None, source=None)


def compose(outer: Affine, inner: Affine) -> Affine:
    """Return the affine that applies `inner` first (affine 2 writes it with *, affine 3 with @).

    Parameters
    ----------
    outer, inner
        From pixels to world, and from other pixels to these.
    """
    return Affine(
        outer.a * inner.a + outer.b * inner.d,
        outer.a * inner.b + outer.b * inner.e,
        outer.a * inner.c + outer.b * inner.f + outer.c,
        outer.d * inner.a + outer.e * inner.d,
        outer.d * inner.b + outer.e * inner.e,
        outer.d * inner.c + outer.e * inner.f + outer.f,
    )


def rescale_profile(profile: RasterProfile, ratio: float) -> RasterProfile:
    """Return the profile for pixels `ratio` times smaller; see `RasterProfile.rescaled`.

    Parameters
    ----------
    profile
        Of the image that was read.
    ratio
        Old pixel size divided by new pixel size.
    """
    return profile.rescaled(ratio)


def plain_profile(names: Sequence[str], *, dtype: str = "float32", units: str | None = None) -> RasterProfile:
    """Return the profile of an image that came from no file: NaN is nodata in floats, integers have none.

    Parameters
    ----------
    names
        Band names, which become descriptions.
    dtype
        Name of a NumPy type.
    units
        Unit of all bands.
    """
    nodata = math.nan if np.dtype(dtype).kind == "f" else None
    bands = tuple(BandProfile(name, description=name, nodata=nodata, units=units) for name in names)
    return RasterProfile(np.dtype(dtype).name, bands)


def class_profile(names: Sequence[str], colours: Colormap) -> RasterProfile:
    """Return the profile of maps of classes: bytes with a colour table, so that coarser levels hold classes, too.

    Parameters
    ----------
    names
        Band names, which become descriptions.
    colours
        Of each class; 255 is nodata.
    """
    table = {number: colours.get(number, (0, 0, 0, 255)) for number in range(255)} | {
        255: (0, 0, 0, 0)
    }  # as GDAL reads it
    bands = (BandProfile(name, name, nodata=255, colorinterp="palette", colormap=table) for name in names)
    return RasterProfile("uint8", tuple(bands))


def _without(tags: Tags, prefix: str) -> tuple[Tags, int]:
    """Return tags without those of the default namespace that start with `prefix`, and how many went."""
    general = tags.get("", {})
    kept = {key: text for key, text in general.items() if not key.startswith(prefix)}
    return ({**tags, "": kept} if len(kept) < len(general) else tags), len(general) - len(kept)


def _closer(tags: Tags, to_new: Affine) -> Tags:
    """Tags in which TIFF's pixels an inch or a centimetre are those of the new grid."""
    general = dict(tags.get("", {}))
    factors = {"X": math.hypot(to_new.a, to_new.d), "Y": math.hypot(to_new.b, to_new.e)}
    for axis, factor in factors.items():
        key = f"TIFFTAG_{axis}RESOLUTION"
        if key in general:
            general[key] = f"{np.float32(float(general[key]) * factor):.8g}"  # as GDAL tells it
    return {**tags, "": general} if general else tags


def _moved_gcp(point: Gcp, to_new: Affine) -> Gcp:
    col, row = point.col, point.row
    return point._replace(
        row=to_new.d * col + to_new.e * row + to_new.f, col=to_new.a * col + to_new.b * row + to_new.c
    )


def _moved_rpcs(rpcs: RPC, to_new: Affine) -> RPC | None:
    from rasterio.rpc import RPC

    size = max(abs(to_new.a), abs(to_new.e))
    turned = abs(to_new.b) > 1e-9 * size or abs(to_new.d) > 1e-9 * size or min(to_new.a, to_new.e) <= 0
    if turned:
        message = "the RPCs are not kept: the new grid is turned or mirrored against the one that they describe"
        warnings.warn(message, RasterWarning, stacklevel=3)
        return None
    moved = {
        "line_off": to_new.e * (rpcs.line_off + 0.5) + to_new.f - 0.5,
        "line_scale": to_new.e * rpcs.line_scale,
        "samp_off": to_new.a * (rpcs.samp_off + 0.5) + to_new.c - 0.5,
        "samp_scale": to_new.a * rpcs.samp_scale,
    }
    return RPC(**{**rpcs.to_dict(), **moved})
