"""Stored numbers to physical values and back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sciddiff.errors import InputError
from sciddiff.io.radiometry import Radiometry, band_radiometry, decode, encode, holds, value_dtype

INTEGERS = ("uint8", "int8", "uint16", "int16")
sizes = st.floats(1e-8, 1e4)


def everything(dtype):
    limits = np.iinfo(dtype)
    return np.arange(int(limits.min), int(limits.max) + 1).astype(dtype)[None, None]


def round_trip(stored, item, dtype):
    valid = np.ones(stored.shape, bool)
    kind = value_dtype(stored.dtype.name, [item])
    values = decode(stored, valid, radiometries=[item], dtype=kind)
    back, clipped = encode(values[0], valid[0], radiometry=item, dtype=dtype, nodata=None)
    return values, back[None], clipped


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(INTEGERS), sizes, st.floats(-100, 100), st.booleans())
def test_every_number_of_16_bit_comes_back(dtype, scale, offset, mirrored):
    item = Radiometry(-scale if mirrored else scale, offset)
    values, back, clipped = round_trip(everything(dtype), item, dtype)
    np.testing.assert_array_equal(back, everything(dtype))
    assert clipped == 0
    if values.dtype == np.float64:  # only where float32 would not do
        narrow = values.astype(np.float32)
        again, _ = encode(narrow[0], np.ones(narrow[0].shape, bool), radiometry=item, dtype=dtype, nodata=None)
        assert not np.array_equal(again[None], everything(dtype))


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_float32_keeps_its_bits(numbers):
    stored = np.array(numbers, np.float32)[None, None]
    _, back, _ = round_trip(stored, Radiometry(), "float32")
    np.testing.assert_array_equal(back.view(np.uint32), stored.view(np.uint32))


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_float64_keeps_its_bits(numbers):
    stored = np.array(numbers, np.float64)[None, None]
    _, back, _ = round_trip(stored, Radiometry(), "float64")
    np.testing.assert_array_equal(back.view(np.uint64), stored.view(np.uint64))


@given(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=20), sizes)
def test_int32_comes_back(numbers, scale):
    stored = np.array(numbers, np.int32)[None, None]
    for item in (Radiometry(), Radiometry(scale, 1.0)):
        _, back, _ = round_trip(stored, item, "int32")
        np.testing.assert_array_equal(back, stored)


def test_sentinel2_baseline_0400():
    stored = np.array([[[1, 1000, 1001, 11000]]], np.uint16)
    item = band_radiometry(
        1,
        0,
        name="B02",
        dtype="uint16",
        band_tags={"BOA_ADD_OFFSET": "-1000"},
        dataset_tags={"QUANTIFICATION_VALUE": "10000"},
    )
    values, back, _ = round_trip(stored, item, "uint16")
    np.testing.assert_array_equal(values[0, 0], np.array([-0.0999, 0, 0.0001, 1], np.float32))
    np.testing.assert_array_equal(back, stored)


@pytest.mark.parametrize("key", ["BOA_ADD_OFFSET", "BOA_ADD_OFFSET_B2", "boa_add_offset_B02", "RADIO_ADD_OFFSET"])
def test_sentinel2_offset_of_the_dataset(key):
    item = band_radiometry(1, 0, name="B2", dtype="uint16", band_tags={}, dataset_tags={key: "-1000"})
    assert item == Radiometry(1, -1000, 10000, sentinel2=True)


def test_sentinel2_offset_is_not_applied_twice():
    tags = {"BOA_ADD_OFFSET": "-1000", "BOA_QUANTIFICATION_VALUE": "10000"}
    item = band_radiometry(1e-4, -0.1, name="B2", dtype="uint16", band_tags=tags, dataset_tags={})
    assert item == Radiometry(1e-4, -0.1)
    with pytest.warns(UserWarning, match="BOA_ADD_OFFSET -1000 is not applied"):
        band_radiometry(1e-4, 0, name="B2", dtype="uint16", band_tags=tags, dataset_tags={})
    assert band_radiometry(1, 0, name="B2", dtype="float32", band_tags=tags, dataset_tags={}).identity


def test_scale_of_zero_is_ignored_with_a_warning():
    with pytest.warns(UserWarning, match="scale 0"):
        assert band_radiometry(0, 1, name="a", dtype="uint8", band_tags={}, dataset_tags={}).identity


def test_scale_and_offset_that_lose_pixels_are_refused():
    with pytest.raises(InputError, match="lose the uint16 pixels"):
        value_dtype("uint16", [Radiometry(1e-20, 1e10)])


@pytest.mark.parametrize(
    ("dtype", "number", "expected"), [("uint8", 300.0, 255), ("uint8", -5.0, 0), ("int16", 4e4, 32767)]
)
def test_integers_are_clipped_and_never_wrapped(dtype, number, expected):
    stored, clipped = encode(
        np.array([[number]]), np.array([[True]]), radiometry=Radiometry(), dtype=dtype, nodata=None
    )
    assert (stored[0, 0], clipped) == (expected, 1)


@pytest.mark.parametrize("dtype", ["int64", "uint64"])
def test_64_bit_clips_without_wrapping(dtype):
    stored, clipped = encode(np.array([[1e30]]), np.array([[True]]), radiometry=Radiometry(), dtype=dtype, nodata=None)
    assert stored[0, 0] > 2**62
    assert clipped == 1


def test_int64_beyond_a_float_is_refused():
    stored = np.array([[[2**53 + 1]]], np.int64)
    with pytest.raises(InputError, match="beyond 2"):
        decode(stored, np.ones(stored.shape, bool), radiometries=[Radiometry()], dtype=np.dtype(np.float64))


@pytest.mark.parametrize(
    ("dtype", "nodata", "values", "expected"),
    [
        ("uint8", 0, [0.0, 0.3, -0.2, 1.0], [1, 1, 1, 1]),
        ("uint8", 255, [255.0, 300.0], [254, 254]),
        ("int16", -9999, [-9999.2, -9998.9], [-10000, -9998]),
        ("float32", -9999, [-9999.0], [np.nextafter(np.float32(-9999), np.float32(0))]),
    ],
)
def test_a_valid_value_that_meets_nodata_stays_valid(dtype, nodata, values, expected):
    array = np.array([values])
    stored, _ = encode(array, np.ones(array.shape, bool), radiometry=Radiometry(), dtype=dtype, nodata=nodata)
    np.testing.assert_array_equal(stored[0], expected)


def test_invalid_pixels_get_nodata_or_nan_or_zero():
    nothing = np.array([[np.nan]])
    for dtype, nodata, expected in (
        ("int16", -9999, -9999),
        ("float32", None, np.nan),
        ("uint8", None, 0),
        ("uint8", -9999, 0),
    ):
        stored, clipped = encode(nothing, np.array([[False]]), radiometry=Radiometry(), dtype=dtype, nodata=nodata)
        np.testing.assert_array_equal(stored[0, 0], expected)
        assert clipped == 0


@pytest.mark.parametrize(
    ("dtype", "number", "expected"),
    [
        ("uint8", 255, True),
        ("uint8", 256, False),
        ("uint8", -9999, False),
        ("uint8", 0.5, False),
        ("int16", np.nan, False),
        ("float32", np.nan, True),
        ("float32", 1e300, False),
    ],
)
def test_holds(dtype, number, expected):
    assert holds(dtype, number) is expected


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32"])
@pytest.mark.parametrize("plain", [Radiometry(), Radiometry(1e-4, -0.1)])
def test_a_window_without_a_hole_is_stored_as_one_with_holes(dtype: str, plain: Radiometry) -> None:
    halves = np.arange(-70000, 70000, 2.5).reshape(40, -1)
    values = plain.decode(halves).astype(np.float32)
    known = np.ones(values.shape, bool)
    whole, clipped = encode(values, known, radiometry=plain, dtype=dtype, nodata=7)
    known[3, 5] = False
    holed, fewer = encode(values, known, radiometry=plain, dtype=dtype, nodata=7)
    assert holed[3, 5] == 7
    assert not (whole == 7).any()
    assert (whole[known] == holed[known]).all()
    assert clipped - fewer in {0, 1}
    if np.dtype(dtype).kind in "iu":
        limits, exact = np.iinfo(dtype), np.rint(plain.encode(values))
        away = (exact != 7) & known
        assert (holed[away] == exact.clip(limits.min, limits.max)[away]).all()
