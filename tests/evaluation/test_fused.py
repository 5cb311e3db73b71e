"""Files scored at full resolution: the figures of the functions themselves, on grids at any place, with gaps."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from scipy import ndimage

from sciddiff import io
from sciddiff.baselines.registered_fusion import geometry_at
from sciddiff.errors import InputError, OptionError
from sciddiff.evaluation import fusion_metrics as metrics
from sciddiff.evaluation.fused import evaluate_fused, largest, lay, turned

Array = NDArray[np.float64]

EAST, NORTH, PIXEL = 5e5, 4e6, 15.0
GAINS = [0.3, 0.3, 0.3]
BANDS = ["B02", "B03", "B08"]


def image(
    values: Array, *, row: float = 0, col: float = 0, factor: float = 1, bands: list[str] = BANDS
) -> xr.DataArray:
    """An image whose first corner lies at a row and column of fused pixels and whose pixels are so many of these."""
    affine = Affine(PIXEL, 0, EAST, 0, -PIXEL, NORTH) * Affine.translation(col, row) * Affine.scale(factor)
    return io.from_array(values, grid=GeoBox(values.shape[1:], affine, "EPSG:32631"), bands=bands[: len(values)])


def scene(ratio: int, offset: tuple[float, float] = (0, 0), *, low: tuple[int, int] = (40, 48)) -> tuple[Array, Array]:
    """A scene, and its bands measured where the scene begins `offset` after them, in digital numbers."""
    rng = np.random.default_rng(0)
    size = (3, ratio * low[0], ratio * low[1])
    truth = 3000 + 4000 * np.stack([ndimage.gaussian_filter(band, 1.2) for band in rng.normal(size=size)])
    return truth, geometry_at(ratio, offset).measure(truth, GAINS, ratio)


@pytest.mark.parametrize(("ratio", "offset"), [(2, (-0.5, 0.5)), (2, (0, 0)), (3, (0.25, -0.5)), (4, (0.5, 0))])
def test_a_scene_reprojects_to_its_bands_wherever_these_lie(ratio: int, offset: tuple[float, float]):
    truth, low = scene(ratio, offset)
    found = evaluate_fused(
        image(truth), image(low, row=-offset[0], col=-offset[1], factor=ratio), image(truth.mean(0)[None])
    )
    assert (found.ratio, found.offset) == (ratio, offset)
    assert found.reprojection == pytest.approx((0, 0, 1), abs=1e-5)
    other = evaluate_fused(image(truth), image(low, row=0.5, col=0.5, factor=ratio), image(truth.mean(0)[None]))
    assert other.reprojection.ergas > 0.5


def test_the_figures_are_those_of_the_functions():
    offset = (-0.5, 0.5)
    truth, low = scene(2, offset, low=(48, 64))
    fused, low, pan = np.rint(truth + 50), np.rint(low), np.rint(truth.mean(0))
    found = evaluate_fused(image(fused), image(low, row=0.5, col=-0.5, factor=2), image(pan[None]))
    assert found.window == (0, 0, 96, 128)
    told = {"ratio": 2, "gains": GAINS}
    assert found.physical == metrics.hqnr(fused, low, pan, mode="physical", offset=offset, **told)
    assert found.reprojection == metrics.reprojection(fused, low, offset=offset, border=3, **told)
    mirrored = [np.flip(values, -1) for values in (fused, low, pan)]
    assert found.toolbox == metrics.hqnr(*mirrored, **told)


def test_on_blocks_the_exact_place_is_that_of_no_offset_where_the_ratio_is_odd():
    truth, low = scene(3)
    told = {"ratio": 3, "gains": GAINS, "mode": "physical"}
    plain = metrics.hqnr(truth + 9, low, truth.mean(0), **told)
    exact = metrics.hqnr(truth + 9, low, truth.mean(0), offset=(0, 0), **told)
    assert tuple(exact) == pytest.approx(tuple(plain), abs=1e-4)


def test_the_toolbox_has_no_offset():
    with pytest.raises(InputError, match="mode toolbox"):
        metrics.reprojection(
            np.ones((1, 32, 32)), np.ones((1, 8, 8)), ratio=4, gains=[0.3], mode="toolbox", offset=(0, 0)
        )


def test_grids_of_other_extents_are_cut_to_one_ground():
    truth, low = scene(2, (-0.5, -0.5), low=(60, 70))
    whole = lay(image(truth), image(low, row=0.5, col=0.5, factor=2), image(truth.mean(0)[None]))
    part = lay(
        image(truth[:, 10:], row=10),
        image(low[:, :, 3:], row=0.5, col=6.5, factor=2),
        image(truth.mean(0)[None, :, :120]),
    )
    assert (whole.window, part.window) == ((0, 0, 96, 128), (0, 6, 96, 96))
    np.testing.assert_array_equal(part.fused, truth[:, 10:106, 6:102])
    np.testing.assert_array_equal(part.pan, truth.mean(0)[10:106, 6:102])
    np.testing.assert_array_equal(part.ms, low[:, 5:53, 3:51])


@pytest.mark.parametrize("hole", ["fused", "ms", "pan"])
def test_the_largest_rectangle_of_blocks_without_a_gap_is_scored(hole: str):
    truth, low = scene(2, low=(64, 64))
    values = {"fused": truth, "ms": low, "pan": truth.mean(0)[None].copy()}
    values[hole][0, 7 if hole == "ms" else 15, -1] = np.nan
    images = [image(values[name], factor=2 if name == "ms" else 1) for name in ("fused", "ms", "pan")]
    laid = lay(*images)
    assert laid.window == (0, 0, 128, 96)
    assert np.isfinite(laid.fused).all()
    assert np.isfinite(evaluate_fused(*images).physical.hqnr)
    values[hole][:] = np.nan
    with pytest.raises(InputError, match="no block of 32 x 32 pixels is valid in all of a, b, c"):
        lay(
            *(image(values[name], factor=2 if name == "ms" else 1) for name in ("fused", "ms", "pan")),
            names=("a", "b", "c"),
        )


def test_largest_rectangles():
    valid = np.ones((13, 21), bool)
    assert largest(valid, 4) == (0, 0, 12, 20)
    valid[0], valid[6, 2] = False, False
    assert largest(valid, 4) == (1, 4, 12, 16)
    assert largest(np.zeros((8, 8), bool), 4) == (0, 0, 0, 0)


def test_published_scores_are_left_out_where_they_have_no_meaning():
    truth, low = scene(2)
    images = [image(low, factor=2), image(truth.mean(0)[None])]
    found = evaluate_fused(image(truth), *images, names=("f.tif", "ms.tif", "pan.tif"))
    assert found.toolbox is None
    assert "ms.tif holds others than whole ones from 0 to 65535" in found.left_out
    assert found.to_dict()["scores"]["toolbox"] == {"left_out": found.left_out}
    small = evaluate_fused(image(1e-4 * truth), image(1e-4 * low, factor=2), image(1e-4 * truth.mean(0)[None]))
    assert small.physical == pytest.approx(found.physical, rel=1e-6)
    truth, low = (np.rint(values) for values in scene(3))
    odd = evaluate_fused(image(truth), image(low, factor=3), image(np.rint(truth.mean(0))[None]))
    assert "a power of two, not 3" in odd.left_out


def test_the_gains_are_those_of_the_sensor_by_any_name_of_its_bands():
    truth, low = scene(2)
    images = [image(truth), image(low, factor=2), image(truth.mean(0)[None])]
    assert evaluate_fused(*images, sensor="sentinel2").gains == (0.275, 0.28, 0.24)
    assert evaluate_fused(*images, sensor="quickbird").gains == (0.34, 0.32, 0.22)
    with pytest.raises(OptionError, match="unknown sensor 'sentinel9'; known are generic, sentinel2"):
        evaluate_fused(*images, sensor="sentinel9")
    named = [image(truth, bands=["x", "y", "z"]), image(low, factor=2, bands=["x", "y", "z"]), images[2]]
    with pytest.raises(OptionError, match="none of x, y, z is one of these"):
        evaluate_fused(*named, sensor="worldview2")


def test_bands_are_matched_by_name():
    truth, low = scene(2)
    turned_round = image(low[::-1], factor=2, bands=BANDS[::-1])
    found = evaluate_fused(image(truth), turned_round, image(truth.mean(0)[None]))
    assert found.reprojection.ergas == pytest.approx(0, abs=1e-5)
    with pytest.warns(io.RasterWarning, match="lacks B08 of the bands: nothing is said"):
        evaluate_fused(image(truth[:2]), image(low, factor=2), image(truth.mean(0)[None]))


def test_what_does_not_fit_is_refused():
    truth, low = scene(2)
    fused, ms, pan = image(truth), image(low, factor=2), image(truth.mean(0)[None])

    def refused(message: str, *images: xr.DataArray) -> None:
        with pytest.raises(InputError, match=message):
            evaluate_fused(*images)

    refused("pixels of the bands are not larger than those of the fused image", fused, image(truth), pan)
    refused("1.5 x 1.5, is no whole number", fused, image(low, factor=1.5), pan)
    refused("2.01 x 2.01, is no whole number", fused, image(low, factor=2.01), pan)
    refused("the grids do not overlap", fused, image(low, row=5000, factor=2), pan)
    refused("no ground is common", fused, image(low, row=79, factor=2), image(truth.mean(0)[None], col=80))
    refused("the bands lacks B08 of the fused image", fused, image(low[:2], factor=2), pan)
    refused("none is the same", fused, image(low[:2], factor=2, bands=["x", "y"]), pan)
    refused("the pan has 3 bands; expected one", fused, ms, fused)
    refused("the pan has not the pixels of the fused image", fused, ms, image(truth.mean(0)[None], col=0.5))
    refused("only 4 x 8 pixels of the bands are valid in one piece", *_tiny())
    stack = fused.expand_dims(z=2)
    refused("the fused image has planes along z", stack, ms, pan)


def _tiny() -> list[xr.DataArray]:
    truth, low = scene(8, low=(4, 8))
    return [image(truth), image(low, factor=8), image(truth.mean(0)[None])]


def test_of_a_real_pair_half_a_pixel_apart(realdata: Path):
    stem = str(realdata / "rs" / "l8_l1tp_momotombo_20151205_")
    ms, pan = io.open(f"{stem}ms6_30m.tif"), io.open(f"{stem}pan_15m.tif")
    ms, pan = ms.isel(y=slice(100, 164), x=slice(100, 180)), pan.isel(y=slice(200, 328), x=slice(200, 360))
    grid = io.grid_of(pan)
    offset = (-0.5, 0.5)
    up = geometry_at(2, offset).up(ms.values.astype(np.float64), 2)
    fused = io.from_array(up, grid=grid, bands=[str(name) for name in ms.band.values])
    laid = lay(fused, ms, pan)
    assert laid.offset == offset
    found = evaluate_fused(fused, ms, pan)
    told = {"ratio": 2, "gains": [0.3] * 6}
    assert found.physical == metrics.hqnr(laid.fused, laid.ms, laid.pan, mode="physical", offset=offset, **told)
    assert found.reprojection == metrics.reprojection(laid.fused, laid.ms, offset=offset, border=3, **told)
    assert found.toolbox == metrics.hqnr(*turned(laid), **told)
    assert found.toolbox is not None
    assert found.toolbox.hqnr > 0.9
