"""Odd rasters, made in code, and the comparison of two rasters to the last bit."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.errors import NodataShadowWarning, NotGeoreferencedWarning
from rasterio.rpc import RPC

NORTH_UP = Affine(10, 0, 440280, 0, -10, 3159720)
UTM = CRS.from_epsg(32616)
Dress = Callable[[Any], None]


def _compose(*parts: Affine) -> Affine:
    matrix = np.eye(3)
    for part in parts:
        matrix = matrix @ np.array(part, dtype=float).reshape(3, 3)
    return Affine(*matrix.ravel()[:6])


def _make(
    path: Path,
    *,
    dtype: str = "uint16",
    shape: tuple[int, int, int] = (3, 70, 90),
    low: float | None = None,
    high: float | None = None,
    edit: Callable[[NDArray[Any]], None] | None = None,
    dress: Dress | None = None,
    mask: bool = False,
    **creation: Any,
) -> Path:
    rng = np.random.default_rng(sum(path.name.encode()))
    kind = np.dtype(dtype)
    if kind.kind == "f":
        values = rng.normal(0.2, 0.1, shape).astype(dtype)
    else:
        limits = np.iinfo(kind)
        bottom = limits.min if low is None else low
        values = rng.integers(bottom, limits.max if high is None else high, shape, dtype=dtype, endpoint=True)
    if edit:
        edit(values)
    creation = {"transform": NORTH_UP, "crs": UTM, **creation}
    layout = {"driver": "GTiff", "count": shape[0], "height": shape[1], "width": shape[2], "dtype": dtype}
    with warnings.catch_warnings(), rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", **layout, **creation) as dst:
            if dress:
                dress(dst)
            dst.write(values)
            if mask:
                dst.write_mask(_holes(shape[1:], rng))
    return path


def _holes(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.uint8]:
    return np.where(rng.random(shape) < 0.2, 0, 255).astype(np.uint8)


def _corner(number: float) -> Callable[[NDArray[Any]], None]:
    def edit(values: NDArray[Any]) -> None:
        rows, cols = np.indices(values.shape[1:])
        values[:, rows + cols < values.shape[1] // 2] = number

    return edit


def _nan_and_inf(values: NDArray[Any]) -> None:
    _corner(np.nan)(values)
    values[0, -1, -1], values[0, -1, -2], values[0, -2, -1] = np.inf, -np.inf, -0.0
    values[1].view(np.uint32)[-3, -3] = 0x7FC01234  # a NaN with a payload


def _nan_and_nodata(values: NDArray[Any]) -> None:
    _corner(-9999)(values)
    values[:, -4:, -4:] = np.nan


def _names(dst: Any) -> None:
    dst.descriptions = ("B2", "B3", "B4", "B8", "B8A")
    dst.units = ("W/m2", None, "K", "m", "1")
    dst.update_tags(TITLE="five bands", EMPTY="", ACCENT="été = summer")
    dst.update_tags(ns="MISSION", ORBIT="22", NOTE="a=b=c")
    dst.update_tags(2, GAIN="high")
    dst.update_tags(3, ns="CALIBRATION", DARK="0.01")


def _scaled(dst: Any) -> None:
    dst.scales, dst.offsets = (2.75e-5,) * 3, (-0.2,) * 3


def _rgba(dst: Any) -> None:
    dst.colorinterp = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha]


def _feathered(values: NDArray[Any]) -> None:
    values[3] = np.array([0, 0, 7, 128, 255], values.dtype)[values[3] % 5]


def _nir(dst: Any) -> None:
    _rgba(dst)
    dst.descriptions = ("R", "G", "B", "NIR")


def _palette(dst: Any) -> None:
    dst.write_colormap(1, {at: (at, 255 - at, at // 2, 255) for at in range(256)})


def _baseline_0400(dst: Any) -> None:
    dst.descriptions = ("B02", "B03", "B04")
    dst.update_tags(BOA_QUANTIFICATION_VALUE="10000", PROCESSING_BASELINE="04.00")
    for index in dst.indexes:
        dst.update_tags(index, BOA_ADD_OFFSET="-1000")


def _gcps(dst: Any) -> None:
    corners = (
        (0, 0, 10.1, 50.2),
        (0, 90, 10.3, 50.25),
        (70, 0, 10.05, 50.0),
        (70, 90, 10.25, 50.05),
        (35, 45, 10.2, 50.1),
    )
    points = [GroundControlPoint(row, col, x, y, 3.5, id=str(at)) for at, (row, col, x, y) in enumerate(corners, 1)]
    dst.gcps = points, CRS.from_epsg(4326)


def _rpcs(dst: Any) -> None:
    ladder = [round(1e-3 * at, 6) for at in range(20)]
    dst.rpcs = RPC(
        height_off=100.5,
        height_scale=500.0,
        lat_off=45.25,
        lat_scale=0.125,
        line_den_coeff=[1.0, *ladder[1:]],
        line_num_coeff=ladder,
        line_off=34.5,
        line_scale=35.0,
        long_off=7.5,
        long_scale=0.25,
        samp_den_coeff=[1.0, *ladder[1:]],
        samp_num_coeff=ladder[::-1],
        samp_off=44.5,
        samp_scale=45.0,
        err_bias=1.5,
        err_rand=0.5,
    )


def _point(dst: Any) -> None:
    dst.update_tags(AREA_OR_POINT="Point")


def make_zoo(folder: Path) -> dict[str, Path]:
    """Make odd rasters in a folder; returns their paths by name.

    Pixels under masks, alpha and NaN are not blank: they must survive too.
    """
    rotated = _compose(Affine.translation(440280, 3159720), Affine.rotation(30), Affine.scale(10, -10))
    sheared = _compose(Affine.translation(440280, 3159720), Affine.shear(12, 5), Affine.scale(10, -7))
    nowhere: dict[str, Any] = {"crs": None, "transform": Affine.identity()}
    recipes: dict[str, dict[str, Any]] = {
        "plain_uint8": {"dtype": "uint8", "edit": _corner(0)},
        "plain_uint16": {},
        "plain_int32": {"dtype": "int32"},
        "plain_uint32": {"dtype": "uint32"},
        "plain_int8": {"dtype": "int8"},
        "plain_float64": {"dtype": "float64"},
        "int16_nodata": {"dtype": "int16", "nodata": -9999, "edit": _corner(-9999)},
        "uint16_nodata_zero": {"nodata": 0, "edit": _corner(0)},
        "uint16_scale_offset": {"nodata": 0, "edit": _corner(0), "dress": _scaled},
        "float32_nan": {"dtype": "float32", "edit": _nan_and_inf},
        "float32_nodata_and_nan": {"dtype": "float32", "nodata": -9999, "edit": _nan_and_nodata},
        "float32_nodata_nan": {"dtype": "float32", "nodata": float("nan"), "edit": _corner(np.nan)},
        "rotated": {"transform": rotated},
        "sheared": {"transform": sheared},
        "south_up": {"transform": Affine(10, 0, 440280, 0, 10, 3159720)},
        "mirrored": {"transform": Affine(-10, 0, 440280, 0, -10, 3159720)},
        "not_square": {"transform": Affine(10, 0, 440280, 0, -2.5, 3159720)},
        "degrees": {
            "crs": CRS.from_epsg(4326),
            "transform": Affine(8.08483755e-4, 0, -74.7224941, 0, -8.08483755e-4, -8.2821),
        },
        "own_crs": {"crs": CRS.from_string("+proj=laea +lat_0=52 +lon_0=10 +x_0=1 +y_0=2 +ellps=GRS80 +units=m")},
        "one_pixel": {"shape": (2, 1, 1)},
        "one_row": {"shape": (2, 1, 37)},
        "one_column": {"shape": (2, 41, 1)},
        "tiny": {"shape": (4, 5, 3)},
        "no_crs": {"crs": None},
        "nowhere": nowhere,
        "nowhere_one_pixel": {**nowhere, "shape": (1, 1, 1)},
        "gcps": {**nowhere, "dress": _gcps},
        "rpcs": {**nowhere, "dress": _rpcs},
        "pixel_is_point": {"dress": _point},
        "palette": {"dtype": "uint8", "shape": (1, 70, 90), "dress": _palette},
        "alpha": {"dtype": "uint8", "shape": (4, 70, 90), "dress": _rgba, "edit": _feathered},
        "nir_as_alpha": {"dtype": "uint8", "shape": (4, 70, 90), "dress": _nir},
        "internal_mask": {"dtype": "uint8", "mask": True},
        "internal_mask_float": {"dtype": "float32", "mask": True, "shape": (1, 70, 90)},
        "names_units_tags": {"shape": (5, 70, 90), "dress": _names},
        "sentinel2_0400": {"dress": _baseline_0400, "nodata": 0, "edit": _corner(0)},
        "all_invalid": {"nodata": 0, "edit": _corner(0), "low": 0, "high": 0},
        "tiled": {"shape": (2, 600, 700), "tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "lzw"},
    }
    return {name: _make(folder / f"{name}.tif", **recipe) for name, recipe in recipes.items()}


def facts(path: Path) -> dict[str, Any]:
    """All that a raster says but its pixels, in comparable form."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path) as src:
            points, gcp_crs = src.gcps
            own = {"IMAGE_STRUCTURE", "DERIVED_SUBDATASETS", "RPC", "SCIDDIFF"}
            return {
                "dtypes": src.dtypes,
                "shape": src.shape,
                "count": src.count,
                "crs": src.crs,
                "transform": src.transform,
                "gcps": [(p.row, p.col, p.x, p.y, p.z, p.id, p.info) for p in points],
                "gcp_crs": gcp_crs if points else None,
                "rpcs": src.rpcs,
                "nodata": [str(nodata) for nodata in src.nodatavals],
                "scales": src.scales,
                "offsets": src.offsets,
                "units": src.units,
                "descriptions": src.descriptions,
                "colorinterp": src.colorinterp,
                "mask_flags": src.mask_flag_enums,
                "colormap": src.colormap(1) if src.colorinterp[0] == ColorInterp.palette else None,
                "tags": [
                    {space: src.tags(index, ns=space) for space in {*src.tag_namespaces(index), None} - own}
                    for index in range(src.count + 1)
                ],
            }


def pixels(path: Path) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    """Numbers of all bands, and GDAL's masks."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        warnings.simplefilter("ignore", NodataShadowWarning)
        with rasterio.open(path) as src:
            return src.read(), src.read_masks()


def compare_rasters(one: Path, other: Path) -> None:
    """Raise AssertionError unless both rasters say the same in every pixel bit and every field."""
    expected, found = facts(one), facts(other)
    for field in expected:
        assert found[field] == expected[field], f"{one.name}: {field}: {found[field]} instead of {expected[field]}"
    for name, left, right in zip(("pixels", "masks"), pixels(one), pixels(other), strict=True):
        wrong = np.flatnonzero((left.view(np.uint8) != right.view(np.uint8)).reshape(left.size, -1).any(axis=1))
        places = [tuple(int(at) for at in np.unravel_index(place, left.shape)) for place in wrong[:5]]
        assert not len(wrong), f"{one.name}: {len(wrong)} {name} differ, first at {places}"
