"""The shipped sample is what the script beside it makes."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import rasterio

from sciddiff import io
from sciddiff.recipe import sample_path


def test_the_script_makes_the_sample_again(tmp_path: Path):
    script = sample_path().parent / "make_sample.py"
    if not script.exists():
        pytest.skip("only a checkout has the script")
    runpy.run_path(str(script))["write"](tmp_path / "again.tif")
    with rasterio.open(sample_path()) as shipped, rasterio.open(tmp_path / "again.tif") as again:
        assert again.profile == shipped.profile
        assert again.tags() == shipped.tags()
        assert (again.descriptions, again.scales, again.units) == (shipped.descriptions, shipped.scales, shipped.units)
        was, now = shipped.read().astype(int), again.read().astype(int)
    # mathematical libraries differ in the last bit, which may tip a rounding or the border of a field
    assert ((was == 0) == (now == 0)).all()
    assert (np.abs(was - now) > 1).mean() < 1e-3


def test_the_sample_is_small_says_that_it_is_synthetic_and_reads_as_reflectance():
    assert sample_path().stat().st_size < 3.5e6
    with rasterio.open(sample_path()) as file:
        assert file.tags()["SYNTHETIC"] == "YES"
    image = io.open(sample_path())
    assert list(image.band.values) == ["B02", "B03", "B04", "B08", "B05", "B06", "B07", "B8A", "B11", "B12"]
    assert image.attrs["units"] == "1"
    values, valid = io.read_window(image, slice(None), slice(None))
    assert not valid[:, 0, -1].any()
    assert 0.9 < valid.mean() < 0.99
    assert 0 < values[valid].min() < values[valid].max() < 1
