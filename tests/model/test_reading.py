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
from sciddiff.model.windows import Window, read_padded
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


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(1, 30), st.integers(1, 30)),
    st.tuples(*[st.floats(0, 0.99)] * 2),
    st.tuples(*[st.integers(1, 30)] * 2),
    st.integers(0, 40),
    st.integers(0, 99),
)
def test_a_pixel_and_its_halo_see_the_image_mirrored_at_its_edges_whatever_the_window(
    shape: tuple[int, int], place: tuple[float, float], core: tuple[int, int], halo: int, seed: int
) -> None:
    values = np.random.default_rng(seed).random((1, *shape), np.float32)
    image = io.from_array(values, grid=GeoBox(shape, Affine.identity(), None), bands=["a"], valid=values > -1)
    first = [int(share * side) for share, side in zip(place, shape)]
    found, known = read_padded(
        image,
        row=first[0] - halo,
        col=first[1] - halo,
        height=core[0] + 2 * halo,
        width=core[1] + 2 * halo,
        fallback=[0.0],
    )
    rows, cols = (np.arange(begin - halo, begin + side + halo) for begin, side in zip(first, core))
    mirrored = [np.minimum(line % (2 * side), (-1 - line) % (2 * side)) for line, side in zip((rows, cols), shape)]
    inside = (rows[:, None] >= 0) & (rows[:, None] < shape[0]) & (cols >= 0) & (cols < shape[1])
    assert np.array_equal(known[0], inside)
    asked = [line < side + halo for line, side in zip((rows, cols), shape)]  # beyond, no pixel of the image looks
    expected = values[0][np.ix_(*mirrored)]
    assert np.array_equal(found[0][np.ix_(*asked)], expected[np.ix_(*asked)])
