"""Law 4 of holes: what lies in them is never felt, what they are is felt no farther than the halo."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from rasterio.transform import from_origin
from scipy import ndimage

from sciddiff.inference import plan_file, predict_file
from sciddiff.model import Model
from sciddiff.model.windows import FILL_RADIUS
from tests.inference.conftest import small_model

HEIGHT, WIDTH = 96, 112
NODATA = 0
LIMITED = settings(
    deadline=None,
    max_examples=6,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module")
def model() -> Model:
    return small_model()


def scene() -> np.ndarray:
    values = 30000 + 40 * np.random.default_rng(0).normal(size=(2, HEIGHT, WIDTH)).cumsum(1)
    return values.clip(1, 60000).astype("uint16")


def predicted(model: Model, values: np.ndarray, folder: Path, *, mask: np.ndarray | None = None) -> np.ndarray:
    source, output = folder / "in.tif", folder / "out.tif"
    shape = {"driver": "GTiff", "count": 2, "height": HEIGHT, "width": WIDTH, "dtype": "uint16"}
    grid = {"crs": "EPSG:32631", "transform": from_origin(5e5, 4e6, 10, 10)}
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(source, "w", **grid, **shape) as file:
        file.write(values)
        file.descriptions = ("red", "nir")
        if mask is not None:
            file.write_mask(mask)
    predict_file(model, str(source), output, tile=64, overwrite=True)
    with rasterio.open(output) as file:
        return file.read()


def finer(mask: np.ndarray) -> np.ndarray:
    return mask.repeat(2, 0).repeat(2, 1)


holes = st.tuples(st.integers(0, HEIGHT - 1), st.integers(0, WIDTH - 1), st.integers(1, 40), st.integers(1, 40))


@LIMITED
@given(hole=holes, seed=st.integers(0, 9))
def test_what_lies_in_a_hole_is_never_felt(
    model: Model, tmp_path: Path, hole: tuple[int, int, int, int], seed: int
) -> None:
    row, col, height, width = hole
    values, mask = scene(), np.full((HEIGHT, WIDTH), 255, "uint8")
    mask[row : row + height, col : col + width] = 0
    noisy = values.copy()
    noisy[:, mask == 0] = np.random.default_rng(seed).integers(0, 65535, noisy[:, mask == 0].shape)
    plain, other = (predicted(model, each, tmp_path, mask=mask) for each in (values, noisy))
    assert (plain[:, finer(mask > 0)] == other[:, finer(mask > 0)]).all()


@LIMITED
@given(hole=holes)
def test_a_hole_is_felt_no_farther_than_the_halo(model: Model, tmp_path: Path, hole: tuple[int, int, int, int]) -> None:
    """The scene whose hole is filled has the same pixels beyond; rounding of the global mean may cost a count."""
    row, col, height, width = hole
    values, mask = scene(), np.full((HEIGHT, WIDTH), 255, "uint8")
    mask[row : row + height, col : col + width] = 0
    whole, holed = predicted(model, values, tmp_path), predicted(model, values, tmp_path, mask=mask)
    halo = plan_file(model, str(tmp_path / "in.tif"), tmp_path / "out.tif").layout.halo
    reached = 2 * halo + 2 * FILL_RADIUS
    far = ndimage.distance_transform_cdt(finer(mask > 0), metric="chessboard") > reached
    assert np.abs(whole.astype(int) - holed)[:, far].max(initial=0) <= 1
