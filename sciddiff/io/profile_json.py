"""A profile as JSON, exactly: for plans of runs, and for formats that have no place of their own for what it says."""

import math
from dataclasses import asdict, fields
from typing import Any

from affine import Affine

from sciddiff.io.profile import BandProfile, Gcp, RasterProfile, Source

_WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def profile_to_dict(profile: RasterProfile) -> dict[str, Any]:
    """Return what a profile says as plain JSON values.

    Parameters
    ----------
    profile
        Of a raster.
    """
    return {
        "dtype": profile.dtype,
        "bands": [_band_to_dict(band) for band in profile.bands],
        "transform": list(profile.transform)[:6],
        "crs_wkt": profile.crs_wkt,
        "tags": {space: dict(tags) for space, tags in profile.tags.items()},
        "gcps": [[_plain(item) for item in point] for point in profile.gcps],
        "gcp_crs_wkt": profile.gcp_crs_wkt,
        "rpcs": None if profile.rpcs is None else profile.rpcs.to_dict(),
        "mask": profile.mask,
        "alpha": None if profile.alpha is None else _band_to_dict(profile.alpha),
        "alpha_at": profile.alpha_at,
        "block": list(profile.block),
        "source": None if profile.source is None else _source_to_dict(profile.source),
    }


def profile_from_dict(data: dict[str, Any]) -> RasterProfile:
    """Return the profile that `profile_to_dict` gave.

    Parameters
    ----------
    data
        After JSON, too.
    """
    from rasterio.rpc import RPC

    source = data["source"]
    return RasterProfile(
        dtype=data["dtype"],
        bands=tuple(_band_from_dict(band) for band in data["bands"]),
        transform=Affine(*data["transform"]),
        crs_wkt=data["crs_wkt"],
        tags=data["tags"],
        gcps=tuple(Gcp(*(_number(item) if at < 5 else item for at, item in enumerate(p))) for p in data["gcps"]),
        gcp_crs_wkt=data["gcp_crs_wkt"],
        rpcs=None if data["rpcs"] is None else RPC(**data["rpcs"]),
        mask=data["mask"],
        alpha=None if data["alpha"] is None else _band_from_dict(data["alpha"]),
        alpha_at=data["alpha_at"],
        block=(data["block"][0], data["block"][1]),
        source=None if source is None else _source_from_dict(source),
    )


def _band_to_dict(band: BandProfile) -> dict[str, Any]:
    data = {item.name: _plain(getattr(band, item.name)) for item in fields(band)}
    data["tags"] = {space: dict(tags) for space, tags in band.tags.items()}
    data["colormap"] = None if band.colormap is None else [[key, *colour] for key, colour in band.colormap.items()]
    return data


def _band_from_dict(data: dict[str, Any]) -> BandProfile:
    numbers = {name: _number(data[name]) for name in ("nodata", "scale", "offset")}
    rows = data["colormap"]
    colormap = None if rows is None else {key: (red, green, blue, alpha) for key, red, green, blue, alpha in rows}
    return BandProfile(**{**data, **numbers, "colormap": colormap})


def _source_to_dict(source: Source) -> dict[str, Any]:
    return {**asdict(source), "indexes": list(source.indexes), "transform": list(source.transform)[:6]}


def _source_from_dict(data: dict[str, Any]) -> Source:
    return Source(**{**data, "indexes": tuple(data["indexes"]), "transform": Affine(*data["transform"])})


def _plain(value: Any) -> Any:
    """Numbers that JSON has no word for become words."""
    if isinstance(value, float) and not math.isfinite(value):
        return next(word for word, number in _WORDS.items() if repr(number) == repr(value))
    return value


def _number(value: Any) -> Any:
    return _WORDS.get(value, value) if isinstance(value, str) else value
