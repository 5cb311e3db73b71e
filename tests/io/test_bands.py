"""Which band is meant by a name."""

import pytest

from sciddiff.errors import InputError
from sciddiff.io import band_names, match_bands

S2 = ["B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B11", "B12"]
L8 = ["B2 blue", "B3 green", "B4 red", "B5 nir", "B6 swir1", "B7 swir2"]


@pytest.mark.parametrize(
    ("wanted", "available", "sensor", "expected"),
    [
        (["B04", "B03", "B02", "B08"], S2, "sentinel2", [2, 1, 0, 6]),
        (["B04", "B03", "B02", "B08"], S2, None, [2, 1, 0, 6]),
        (["B8A", "B08"], S2, "sentinel2", [7, 6]),
        (["red", "green", "blue"], S2, None, [2, 1, 0]),
        (["nir"], S2, "sentinel2", [6]),
        (["B04", "B03", "B02", "B08"], ["R", "G", "B", "NIR"], "sentinel2", [0, 1, 2, 3]),
        (["R", "G", "B", "NIR"], ["SWIR1", "NIR", "Red", "Green", "Blue"], None, [2, 3, 4, 1]),
        (["B02", "B04", "B08"], L8, "sentinel2", [0, 2, 3]),
        (["B2", "B5"], L8, "landsat8", [0, 3]),
        (["B5"], L8, None, [3]),
        (["B1", "B4"], ["blue", "green", "red", "nir"], "landsat7", [0, 3]),
        (["swir22", "rededge1"], S2, "sentinel-2-l2a", [9, 3]),
        (["B5 nir"], ["B05", "nir"], "sentinel2", [1]),
        (["Near Infrared"], ["Red Edge", "NIR"], None, [1]),
        (["b2"], ["B2", "B02"], None, [0]),
        (["band_2"], ["band_1", "band_2"], None, [1]),
        (["B5"], ["B5 nir"], "generic", [0]),
        (["pan"], ["B8 pan"], None, [0]),
        (["nir"], ["nir08", "red"], "landsat8", [0]),
        (["blue", "nir", "swir2"], S2, "generic", [0, 6, 9]),
        (["blue", "nir", "swir2"], S2, "landsat8", [0, 6, 9]),
        (["blue", "red", "nir"], ["B02", "B03", "B04", "B08"], "generic", [0, 2, 3]),
        (["blue", "nir", "swir2"], [f"SR_B{number}" for number in range(2, 8)], "generic", [0, 3, 5]),
        (["blue", "nir", "swir2"], [f"B{number}" for number in (1, 2, 3, 4, 5, 7)], "sentinel2", [0, 3, 5]),
    ],
)
def test_aliases(wanted, available, sensor, expected):
    assert match_bands(wanted, available, sensor=sensor) == expected


@pytest.mark.parametrize("wanted", [["blue", "nir", "swir1", "swir2"], ["B2", "B5", "B6", "B7"]])
@pytest.mark.parametrize(
    ("available", "expected"),
    [
        ([*(f"SR_B{number}" for number in range(1, 6)), "ST_B6", "SR_B7"], [0, 3, 4, 6]),
        (["B1", "B2", "B3", "B4", "B5", "B6_VCID_1", "B6_VCID_2", "B7"], [0, 3, 4, 7]),
        ([f"LT05_B{number}" for number in range(1, 8)], [0, 3, 4, 6]),
        ([f"sur_refl_b0{number}" for number in range(1, 8)], [2, 1, 5, 6]),
        ([f"Nadir_Reflectance_Band{number}" for number in range(1, 8)], [2, 1, 5, 6]),
    ],
)
def test_thermal_band_6_and_modis_are_not_taken_for_landsat_8(wanted, available, expected):
    assert match_bands(wanted, available, sensor="landsat8") == expected
    assert match_bands(available, available) == list(range(len(available)))


@pytest.mark.parametrize(
    ("wanted", "available", "sensor"),
    [
        (["B05"], L8, "sentinel2"),
        (["B05"], L8, None),
        (["B08"], ["B8 pan"], "sentinel2"),
        (["B8A"], ["NIR"], "sentinel2"),
        (["B5"], ["nir"], None),
        (["red"], ["Red Edge", "infrared"], None),
        (["B1"], ["B11", "B10"], None),
        (["red"], ["band_1", "band_4"], None),
        (["blue"], ["B1", "B2", "B3", "B4"], "generic"),
        (["nir"], [f"B{number}" for number in range(1, 9)], "generic"),
    ],
)
def test_a_contradiction_is_no_match(wanted, available, sensor):
    with pytest.raises(InputError, match="needs "):
        match_bands(wanted, available, sensor=sensor)


def test_error_names_both_sides():
    with pytest.raises(InputError) as caught:
        match_bands(["B04", "B03", "B02", "B08"], ["band_1", "band_2", "band_3"])
    assert str(caught.value) == "needs B04, B03, B02, B08; got 3 unnamed bands"
    with pytest.raises(InputError, match=r"got B2 blue, .* \(missing: B11\)"):
        match_bands(["B02", "B11"], [*L8[:3]], sensor="sentinel2")


def test_two_that_fit_are_not_guessed_between():
    with pytest.raises(InputError, match="'red 1', 'red 2' fit it"):
        match_bands(["red"], ["red 1", "red 2"])
    with pytest.raises(InputError, match="different bands"):
        match_bands(["red", "R"], ["Red", "NIR"])


def test_names_come_from_description_then_tag_then_colour():
    names = band_names(
        ["NIR", None, "", None, "NIR"],
        tagged=[None, "swir", None, None, None],
        colours=["red", "gray", "green", "gray", "blue"],
    )
    assert names == ["NIR", "swir", "green", "band_4", "NIR_2"]
