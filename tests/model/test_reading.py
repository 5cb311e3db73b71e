"""What windows read is what lies under them: plain formulas of the same results."""

from dataclasses import replace

import numpy as np
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from sciddiff import io
from sciddiff.model import reading
from sciddiff.model.fit import Fitted
from sciddiff.model.layout import Layout
from sciddiff.model.windows import Window
from sciddiff.tasks import Input


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 4),
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
    st.tuples(*[st.integers(-40, 50)] * 2, *[st.integers(1, 60)] * 2),
    st.tuples(*[st.floats(-3, 3)] * 2),
    st.booleans(),
    st.integers(0, 99),
)
def test_a_pixel_is_known_where_the_one_under_it_is(
    ratio: int,
    shape: tuple[int, int],
    place: tuple[int, int, int, int],
    offset: tuple[float, float],
    is_mask: bool,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    valid, values = rng.random((2, *shape)) < 0.7, rng.integers(0, 2, (2, *shape)).astype("float32")
    image = io.from_array(values, grid=GeoBox(shape, Affine.identity(), None), bands=["a", "b"], valid=valid)
    spec = replace(Input("image", ("a", "b"), ratio), is_mask=is_mask)
    window, layout = Window(*place), Layout((9, 9), ratio, 8, 0, "", fallback={}, offset=offset)
    found = reading._known(spec, Fitted(image, (0, 1), io.grid_of(image)), layout, window)
    expected = np.zeros((2, *place[2:]), bool)
    rows, cols = reading.under(layout, window, ratio=ratio)
    for at, row in enumerate(rows):
        for to, col in enumerate(cols):
            if 0 <= row < shape[0] and 0 <= col < shape[1]:
                expected[:, at, to] = valid[:, row, col] & ((values[:, row, col] != 0) | (not is_mask))
    assert np.array_equal(found, expected)
