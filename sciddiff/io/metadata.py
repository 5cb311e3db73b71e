"""Between a raster file and its profile: what a file says, saying it in another file, and what got lost."""

import math
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.env import getenv, hasenv
from rasterio.errors import CRSError, NotGeoreferencedWarning, RasterioError

from sciddiff.errors import InputError
from sciddiff.io.bands import band_names, match_bands
from sciddiff.io.masks import alpha_band, has_mask
from sciddiff.io.profile import BandProfile, Gcp, RasterProfile, RasterWarning, Source, Tags
from sciddiff.io.radiometry import holds

# Made up by GDAL at each opening, or kept in fields of their own.
DERIVED = ("IMAGE_STRUCTURE", "DERIVED_SUBDATASETS", "SUBDATASETS", "RPC", "TIFF")
PROVENANCE = "SCIDDIFF"
CACHE_MB = 64


def read_profile(src: Any, path: str, *, bands: Sequence[str | int] | None = None) -> RasterProfile:
    """Return the profile of an open rasterio dataset.

    Parameters
    ----------
    src
        Open rasterio dataset.
    path
        Where it is.
    bands
        Names or 1-based numbers; an alpha band that is asked for is data. None: all data bands.

    Raises
    ------
    InputError
        Complex pixels, no bands, or a band that is not there.
    """
    _refuse(src, path)
    names = band_names(
        src.descriptions,
        tagged=[src.tags(index).get("BANDNAME") for index in src.indexes],
        colours=[colour.name for colour in src.colorinterp],
    )
    alpha = alpha_band(src)
    indexes = select_bands(names, bands, src.indexes, alpha, path)
    if alpha in indexes:
        alpha = None
    chosen = tuple(_band(src, index, names[index - 1], data=True) for index in indexes)
    gcps, gcp_crs = src.gcps
    dtypes = [np.dtype(src.dtypes[index - 1]) for index in indexes]
    stat = os.stat(path) if os.path.exists(path) else None
    return RasterProfile(
        dtype=np.result_type(*dtypes).name,
        bands=chosen,
        transform=src.transform,
        crs_wkt=_wkt(src.crs),
        tags=_tags(src),
        gcps=tuple(Gcp(point.row, point.col, point.x, point.y, point.z, point.id, point.info) for point in gcps),
        gcp_crs_wkt=_wkt(gcp_crs) if gcps else None,
        rpcs=src.rpcs,
        mask=has_mask(src),
        alpha=None if alpha is None else _band(src, alpha, names[alpha - 1], data=False),
        alpha_at=0 if alpha is None else sum(index < alpha for index in indexes),
        block=src.block_shapes[0],
        source=Source(path, stat and stat.st_size, stat and stat.st_mtime_ns, tuple(indexes), alpha, src.transform),
    )


@contextmanager
def gdal(**options: bool | int) -> Iterator[None]:
    """Run GDAL with a block cache of bounded size: its own default is 5 % of the machine's memory.

    Parameters
    ----------
    **options
        GDAL configuration. A GDAL_CACHEMAX that the user has set holds.
    """
    chosen = "GDAL_CACHEMAX" in os.environ or (hasenv() and "GDAL_CACHEMAX" in getenv())
    with rasterio.Env(**({} if chosen else {"GDAL_CACHEMAX": CACHE_MB}), **options):
        yield


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the warning that a raster has no georeference: that is no fault."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


def write_profile(dst: Any, profile: RasterProfile, *, provenance: dict[str, str] | None = None) -> None:
    """Say in a dataset open for writing all that a profile says, but grid, type and pixels; lost things are warned of.

    Parameters
    ----------
    dst
        GeoTIFF open for writing, with as many bands as `file_bands` has.
    profile
        What to say.
    provenance
        Goes to the tag namespace SCIDDIFF.
    """
    for space, tags in profile.tags.items():
        _update_tags(dst, space, tags)
    if provenance:
        dst.update_tags(ns=PROVENANCE, **provenance)
    if profile.rpcs is not None:
        dst.rpcs = profile.rpcs
    if profile.gcps:
        dst.gcps = gcps_of(profile)
    bands = file_bands(profile)
    for index, band in enumerate(bands, start=1):
        for space, tags in band.tags.items():
            _update_tags(dst, space, tags, index)
        if band.description:
            dst.set_band_description(index, band.description)
        if band.units:
            dst.set_band_unit(index, band.units)
        if band.colormap:
            dst.write_colormap(index, dict(band.colormap))
    if any((band.scale, band.offset) != (1, 0) for band in bands):
        dst.scales = [band.scale for band in bands]
        dst.offsets = [band.offset for band in bands]
    dst.colorinterp = [ColorInterp[band.colorinterp] for band in bands]


def file_bands(profile: RasterProfile) -> list[BandProfile]:
    """Return the bands of the file in order: those of the image, and alpha at its place.

    Parameters
    ----------
    profile
        Of the file.
    """
    bands = list(profile.bands)
    if profile.alpha is not None:
        bands.insert(profile.alpha_at, profile.alpha)
    return bands


def gcps_of(profile: RasterProfile, *, shift: float = 0.0) -> tuple[list[GroundControlPoint], CRS | None]:
    """Return GCPs as rasterio takes them.

    Parameters
    ----------
    profile
        With GCPs.
    shift
        Added to rows and columns, in pixels.
    """
    points = [
        GroundControlPoint(**{**point._asdict(), "row": point.row + shift, "col": point.col + shift})
        for point in profile.gcps
    ]
    return points, CRS.from_wkt(profile.gcp_crs_wkt) if profile.gcp_crs_wkt else None


def differences(asked: RasterProfile, written: RasterProfile) -> list[str]:
    """Return the names of what a file does not say as it was asked to.

    Parameters
    ----------
    asked, written
        Profiles with equal bands.
    """
    lost = [
        name
        for name in ("gcps" if asked.gcps else "transform", "rpcs", "mask")
        if not _same(getattr(asked, name), getattr(written, name))
    ]
    lost += [name for name in ("crs_wkt", "gcp_crs_wkt") if not _same_crs(getattr(asked, name), getattr(written, name))]
    lost += _lost_tags(asked.tags, written.tags, "")
    for one, other in zip(file_bands(asked), file_bands(written), strict=False):
        lost += [
            f"{name} of band {one.name}"
            for name in ("description", "nodata", "scale", "offset", "units", "colormap")
            if not _same(getattr(one, name), getattr(other, name))
        ]
        if _shade(one.colorinterp) != _shade(other.colorinterp):
            lost.append(f"colour interpretation of band {one.name}")
        lost += _lost_tags(one.tags, other.tags, f" of band {one.name}")
    return lost


def grid_from(src: Any) -> GeoBox:
    """Return the pixel grid of an open rasterio dataset; GCPs are no part of it.

    Parameters
    ----------
    src
        Open rasterio dataset.
    """
    crs = _wkt(src.crs)
    return GeoBox(src.shape, Affine(*src.transform[:6]), crs)


def _refuse(src: Any, path: str) -> None:
    if not src.count:
        inner = ", ".join(src.subdatasets[:3])
        raise InputError(
            f"{path}: has no raster of its own" + (f"; open one of its parts, as {inner}" if inner else "")
        )
    odd = sorted({kind for kind in src.dtypes if "complex" in kind})
    if odd:
        message = f"{path}: pixels are {odd[0]}; complex rasters cannot be used: write amplitude or phase as real bands"
        raise InputError(message)


def select_bands(
    names: Sequence[str],
    bands: Sequence[str | int] | None,
    indexes: Sequence[int],
    alpha: int | None,
    path: str,
) -> list[int]:
    """Return the 1-based file bands that are asked for.

    Parameters
    ----------
    names
        Of all bands of the file.
    bands
        Names or numbers; None: all but alpha.
    indexes
        The numbers that there are.
    alpha
        The one that holds validity.
    path
        Of the file, for messages.
    """
    if bands is None:
        return [index for index in indexes if index != alpha]
    if isinstance(bands, str) or not bands:
        raise InputError(f"{path}: bands is {bands!r}; give a list of names or 1-based numbers")
    chosen = []
    for band in bands:
        if isinstance(band, str):
            try:
                chosen.append(indexes[match_bands([band], names)[0]])
            except InputError as error:
                raise InputError(f"{path}: {error}") from None
        elif band in indexes:
            chosen.append(int(band))
        else:
            raise InputError(f"{path}: has no band {band}; its bands are 1 to {len(indexes)}: {', '.join(names)}")
    if len(set(chosen)) < len(chosen):
        raise InputError(f"{path}: bands {list(bands)} name a band twice")
    return chosen


def _band(src: Any, index: int, name: str, *, data: bool) -> BandProfile:
    colour = src.colorinterp[index - 1]
    if data and index == alpha_band(src):  # asked for as data: it must come back as data
        colour = ColorInterp.undefined
    return BandProfile(
        name=name,
        description=src.descriptions[index - 1],
        nodata=_held(src.nodatavals[index - 1], src.dtypes[index - 1]),
        scale=src.scales[index - 1],
        offset=src.offsets[index - 1],
        units=src.units[index - 1] or None,
        tags=_tags(src, index),
        colorinterp=colour.name,
        colormap=src.colormap(index) if colour == ColorInterp.palette else None,
    )


def _held(nodata: float | None, dtype: str) -> float | None:
    """Nodata as a number of its type: the lowest float, a usual one, is written with digits that round it out of it."""
    if nodata is None or dtype != "float32" or not math.isfinite(nodata) or holds(dtype, nodata):
        return nodata
    with np.errstate(over="ignore"):
        nearest = float(np.float32(nodata))
    return nearest if math.isfinite(nearest) else nodata


def _tags(src: Any, index: int = 0) -> Tags:
    spaces = [space for space in src.tag_namespaces(index) if space and space not in DERIVED]
    tags = {space: dict(src.tags(index, ns=space)) for space in spaces}
    general = dict(src.tags(index))
    return {"": general, **tags} if general else tags


def _update_tags(dst: Any, space: str, tags: Any, index: int = 0) -> None:
    if not space:
        dst.update_tags(index, **tags)
    elif space.startswith("xml:"):
        # An xml namespace holds one text, which rasterio writes as key=value: cut it where it has an equals sign.
        for text in tags.values():
            key, _, rest = text.partition("=")
            dst.update_tags(index, ns=space, **{key: rest})
    else:
        dst.update_tags(index, ns=space, **tags)


def _wkt(crs: CRS | None) -> str | None:
    if not crs:
        return None
    for version in ("WKT2_2019", None):
        try:
            return str(crs.to_wkt(version=version) if version else crs.to_wkt())
        except (CRSError, RasterioError):
            continue
    warnings.warn("the CRS of the file cannot be expressed as WKT and is not kept", RasterWarning, stacklevel=2)
    return None


def _same_crs(one: str | None, other: str | None) -> bool:
    if one == other or not one or not other:
        return one == other
    return bool(CRS.from_wkt(one) == CRS.from_wkt(other))


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, int | float):
        return one == other or (math.isnan(one) and math.isnan(other))
    return bool(one == other)


def _shade(colorinterp: str) -> str:
    """GDAL reads the first band as grey if nobody said what it is."""
    return "undefined" if colorinterp == "gray" else colorinterp


def _lost_tags(asked: Tags, written: Tags, where: str) -> list[str]:
    lost = []
    for space, tags in asked.items():
        found = written.get(space, {})
        prefix = f"{space}:" if space else ""
        lost += [f"tag {prefix}{key}{where}" for key, text in tags.items() if found.get(key) != text]
    return [name for name in lost if name != "tag AREA_OR_POINT" or asked[""]["AREA_OR_POINT"] != "Area"]
