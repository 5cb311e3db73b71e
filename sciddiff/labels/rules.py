"""Rules that label an image where nobody has: silver labels, whose name says how they were made."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sciddiff.errors import InputError
from sciddiff.labels.landcover import landcover
from sciddiff.labels.nuclei_rule import segmented_nuclei

BANDS = {"green": "B03", "red": "B04", "nir": "B08", "swir": "B11"}
"""Names under which the rule `landcover` finds its bands."""


def by_rule(rule: str, image: NDArray[np.floating], bands: Sequence[str]) -> NDArray[np.integer]:
    """Labels of an image.

    Parameters
    ----------
    rule
        `nuclei`: objects of the first band; `landcover`: classes of surface reflectance.
    image
        (bands, h, w), NaN where invalid.
    bands
        Their names.

    Returns
    -------
    ndarray
        (h, w), 0 where there is nothing, or nothing is known.

    Raises
    ------
    InputError
        The rule needs a band that is not there.
    """
    if rule == "nuclei":
        return segmented_nuclei(np.nan_to_num(image[0]))
    missing = [band for band in BANDS.values() if band not in bands]
    if missing:
        raise InputError(f"the rule landcover needs {', '.join(missing)}; there are {', '.join(bands)}")
    return landcover(image, **{name: list(bands).index(band) for name, band in BANDS.items()})
