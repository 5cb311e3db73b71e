from dataclasses import FrozenInstanceError, replace

import pytest

from sciddiff.errors import OptionError
from sciddiff.physics import optics
from sciddiff.physics.optics import Optics

OIL = Optics(na=1.4, wavelength=0.525, index=1.515, pixel_size=0.065, z_step=0.2)


def test_golden_sampling() -> None:
    # Microscopy reference, section 5.1: NA 1.4, lambda 0.525, n 1.515.
    assert 1 / optics.cutoff(OIL) == pytest.approx(0.1875)
    assert optics.nyquist(OIL) == pytest.approx(0.0938, abs=1e-4)
    assert 1 / optics.axial_cutoff(OIL) == pytest.approx(0.5609, abs=1e-4)
    assert optics.axial_nyquist(OIL) == pytest.approx(0.2804, abs=1e-4)


def test_bands_of_several_passages_add() -> None:
    confocal = replace(OIL, modality="confocal", excitation=0.488)
    assert optics.cutoff(confocal) == pytest.approx(2 * 1.4 / 0.525 + 2 * 1.4 / 0.488)
    assert optics.cutoff(replace(OIL, modality="two-photon", excitation=0.9)) == pytest.approx(4 * 1.4 / 0.9)
    sheet = replace(OIL, modality="light-sheet", sheet=1.0)
    assert optics.cutoff(sheet) == optics.cutoff(OIL)


def test_warnings_name_what_is_prior() -> None:
    assert optics.warn_sampling(OIL) == ()
    assert optics.warn_sampling(replace(OIL, pixel_size=optics.nyquist(OIL))) == ()
    (coarse,) = optics.warn_sampling(replace(OIL, pixel_size=0.16))
    assert "pixel 0.16 um is coarser than Nyquist of the optics, 0.09375 um" in coarse
    (beyond,) = optics.warn_sampling(OIL, factor=2)
    assert "0.0325 um after x2" in beyond
    assert "beyond a period of 0.1875 um is prior, not data" in beyond
    both = optics.warn_sampling(replace(OIL, pixel_size=0.16), factor=4)
    assert len(both) == 2
    (axial,) = optics.warn_sampling(OIL, z_factor=4)
    assert "plane distance 0.05 um after x4" in axial
    assert optics.warn_sampling(replace(OIL, pixel_size=0.186), factor=1.5)[0].startswith("pixel 0.186")


def test_optics_of_a_mapping() -> None:
    values = {"na": 1.4, "wavelength": 0.525, "index": 1.515, "pixel_size": 0.065, "z_step": 0.2}
    assert Optics.from_mapping(values) == OIL
    with pytest.raises(OptionError, match=r"unknown aperture and miss na, pixel_size"):
        Optics.from_mapping({"aperture": 1.4, "wavelength": 0.5, "index": 1.5})
    with pytest.raises(FrozenInstanceError):
        OIL.na = 1.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"na": 1.6}, r"na 1.6 must be above zero and below the immersion's index 1.515"),
        ({"wavelength": 525.0}, r"525.0 is no light's in um.*525 nm is 0.525"),
        ({"pixel_size": 0.0}, r"pixel_size 0.0 must be above zero"),
        ({"modality": "confocal"}, r"needs the excitation's wavelength"),
        ({"modality": "light-sheet"}, r"needs the sheet's standard deviation"),
        ({"modality": "sted"}, r"'sted' is none of widefield"),
        ({"depth": -1.0}, r"depth -1.0"),
    ],
)
def test_impossible_optics_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        replace(OIL, **change)
