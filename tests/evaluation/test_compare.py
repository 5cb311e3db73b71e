"""Comparison of methods on a small scene, the tables, pictures and page made of it."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox
from PIL import Image

from sciddiff import io
from sciddiff.errors import InputError, OutputError
from sciddiff.evaluation import Comparison, compare, judge, known_image, pictures, tables, write_report
from sciddiff.evaluation.compare import MEAN, REGRESSOR, SAMPLE, peak_of
from sciddiff.model import Model, build
from sciddiff.recipe import Network, Recipe, SuperResolution
from sciddiff.recipe.tasks import FillGaps

SIDE = 96


@pytest.fixture(scope="module")
def model() -> Model:
    """Random weights, twice finer."""
    task = SuperResolution(kind="super_resolution", ratio=2, pixel_size=(5, 25))
    network = Network(widths=[8, 8], encoder_blocks=[0, 1], denoiser_blocks=[0, 1], stem=2, embedding=8)
    return build(Recipe(version=1, name="tiny", task=task, bands=["red", "green", "nir"], network=network))


def scene(*, holes: bool = True) -> xr.DataArray:
    """Blocks and waves in two of the model's bands and one that it does not know, an odd side, a corner missing."""
    row, col = np.mgrid[: SIDE + 1, :SIDE]
    blocks = np.random.default_rng(1).random((20, 20))[row // 5, col // 6]
    values = np.stack([0.2 + 0.1 * blocks, 0.3 - 0.1 * blocks + 0.02 * np.sin(row / 3), 0 * blocks]).astype("float32")
    valid = np.ones(values.shape, bool)
    if holes:
        valid[:, :20, 70:] = False
        valid[0, 60, 40] = False
    grid = GeoBox(values.shape[1:], Affine(10, 0, 5e5, 0, -10, 5e6), "EPSG:32631")
    return io.from_array(values, grid=grid, bands=["nir", "red", "green"], valid=valid, units="1")


def measured(model: Model, clean: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """The truth, and what was measured of it."""
    known = known_image(model, clean)
    return known.truth, known.image


@pytest.fixture(scope="module")
def found(model: Model) -> Comparison:
    """All methods on the scene with holes."""
    return compare(model, scene(), steps=2, regressor=model)


def test_every_method_is_scored_on_the_same_valid_pixels(model: Model, found: Comparison):
    assert list(found.scores) == [*model.task.baselines(), MEAN, SAMPLE, REGRESSOR]
    assert found.truth.shape == (3, SIDE, SIDE)
    assert found.bands == ("nir", "red", "green")
    assert found.peak == 1
    assert not found.valid[:, :20, 70:].any()
    assert not found.valid[0, 60:62, 40:42].any()  # its low pixel could not be measured
    assert found.valid[1, 60, 40]
    assert found.scores[REGRESSOR] == found.scores[MEAN]
    assert found.scores["back_projection"].psnr > found.scores["bicubic"].psnr
    assert found.gain(MEAN, "bicubic") == found.scores[MEAN].psnr - found.scores["bicubic"].psnr
    assert json.loads(json.dumps(found.to_dict()))["scores"]["sample"]["psnr"] == found.scores[SAMPLE].psnr


def test_the_truth_scores_perfectly_and_is_consistent_with_its_own_measurement(model: Model):
    truth, low = measured(model, scene())
    scores = judge(model, truth, low=low, estimates={"truth": truth}).scores["truth"]
    assert scores.rmse == 0
    assert scores.octaves == (0,) * len(scores.octaves)
    assert scores.consistency < 1e-7


def test_an_error_that_the_instrument_sees_shows_as_inconsistency(model: Model):
    truth, low = measured(model, scene())
    scores = judge(model, truth, low=low, estimates={"bright": truth + 0.01}).scores["bright"]
    assert scores.rmse == pytest.approx(0.01, rel=1e-4)
    assert scores.consistency == pytest.approx(0.01, rel=1e-4)


def test_what_stands_in_invalid_pixels_changes_nothing(model: Model, found: Comparison):
    image = scene()
    other = io.from_array(
        np.where(image.valid, image, 77), grid=io.grid_of(image), bands=list(image.band.values), valid=image.valid
    )
    again = compare(model, other.assign_attrs(units="1"), steps=2)
    assert {name: scores for name, scores in found.scores.items() if name != REGRESSOR} == again.scores


def test_gaps_cut_into_a_clean_image_are_what_counts():
    network = Network(widths=[8], encoder_blocks=[0], denoiser_blocks=[0], stem=2, embedding=8)
    task = FillGaps(kind="fill_gaps")
    filler = build(Recipe(version=1, name="gaps", task=task, bands=["red", "green", "nir"], network=network))
    gaps = compare(filler, scene(holes=False) + 0.1, steps=1)
    assert 0.1 < 1 - gaps.low_valid.mean() < 0.3, "gaps are no measured zeros"
    assert not (gaps.scored & gaps.low_valid).any()
    assert gaps.scores["membrane"].rmse < 0.05 < gaps.truth.min()


def test_a_border_is_left_out(model: Model, found: Comparison):
    truth, low = measured(model, scene(holes=False))
    spoilt = truth.copy(deep=True)
    spoilt[:, 0] = 9
    scores = judge(model, truth, low=low, estimates={"spoilt": spoilt}, border=1).scores
    assert scores["spoilt"].rmse == 0
    with pytest.raises(InputError, match="border"):
        judge(model, truth, low=low, estimates={}, border=SIDE // 2)


def test_low_pixels_are_valid_where_their_whole_block_is_and_lie_on_it(model: Model):
    truth, low = measured(model, scene())
    assert io.grid_of(low) == io.grid_of(truth).zoom_out(2)
    assert not low.valid.values[0, 30, 20]
    assert low.valid.values[1, 30, 20]


@pytest.mark.parametrize(
    ("dtype", "units", "top", "expected"),
    [("float32", "1", 0.9, 1.0), ("uint8", None, 200, 255.0), ("uint16", None, 5000, pytest.approx(5000, rel=0.01))],
)
def test_the_peak_follows_what_the_values_are(
    dtype: str, units: str | None, top: float, expected: float, tmp_path: Path
):

    values = np.linspace(0, top, 10000).reshape(1, 100, 100)
    image = io.from_array(
        values.astype(dtype), grid=GeoBox((100, 100), Affine.identity(), None), bands=["a"], units=units
    )
    if dtype != "float32":
        image.encoding["raster"] = io.plain_profile(["a"], dtype=dtype)
    assert peak_of(image, values) == expected


def test_an_image_of_another_shape_is_refused_by_name(model: Model):
    truth, low = measured(model, scene())
    with pytest.raises(InputError, match="short"):
        judge(model, truth, low=low, estimates={"short": truth.isel(y=slice(0, 8))})


def test_details_are_valid_squares_on_whole_low_pixels(found: Comparison):
    squares = pictures.details(found)
    assert squares
    for row, col, side in squares:
        assert {row % 2, col % 2, side % 2} == {0}
        assert found.valid[:, row : row + side, col : col + side].all()


def test_pictures_are_transparent_where_nothing_was_measured(found: Comparison):
    for _, picture in pictures.columns(found):
        alpha = np.asarray(picture)[..., 3]
        assert alpha[: alpha.shape[0] // 6, -alpha.shape[1] // 6 :].max() == 0
        assert alpha[-1, 0] == 255
    errors = pictures.error_map(found, MEAN)
    assert np.isnan(errors[:20, 70:]).all()
    assert np.isfinite(errors).any()


def test_tables_have_a_row_for_each_method_and_a_cell_for_each_column(found: Comparison):
    rows = tables.rows(found)
    assert [row[0] for row in rows] == [tables.method_name(name) for name in found.scores]
    assert {len(row) for row in rows} == {len(tables.headers(found))}


class _Page(HTMLParser):
    """Checks that tags close, and collects what a page asks for from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "img":
            self.images.append(found)
        self.links += [value for name, value in attrs if name in ("src", "href") and value]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_describes_its_pictures_and_needs_nothing_else(found: Comparison, tmp_path: Path):
    notes = {"where <b>": "a & b"}
    paths = write_report(found, tmp_path, title="<Tiny> model", summary="Short & true.", notes=notes)
    text = paths["report"].read_text(encoding="utf-8")
    page = _Page()
    page.feed(text)
    assert page.open == []
    assert '<html lang="en">' in text
    assert "<title>&lt;Tiny&gt; model</title>" in text
    assert "Short &amp; true." in text
    assert "where &lt;b&gt;" in text
    assert len(page.images) >= 5
    assert all(image["alt"] for image in page.images)
    assert all(link.startswith("data:image/") for link in page.links)
    assert not re.search(r"https?://", text)
    assert "$" not in re.sub(r"base64,[^\"]+", "", text)
    with Image.open(paths["panel"]) as panel:
        assert min(panel.size) > 256
    assert {path.name for path in tmp_path.iterdir()} == {"panel.png", "report.html"}


def test_a_folder_that_is_not_there_is_told(found: Comparison, tmp_path: Path):
    with pytest.raises(OutputError, match="nowhere"):
        write_report(found, tmp_path / "nowhere", title="x")
