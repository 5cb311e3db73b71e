"""Band tags of the default namespace through a copy by GDAL, which keeps either them or the named namespaces.

GDAL copies a GeoTIFF's named namespaces with COPY_SRC_MDD=YES, and then forgets the default namespace of its bands.
So the tags travel in a namespace of their own, and in the copy that namespace's name is blanked out of the XML of the
TIFF tag GDAL_METADATA, in place and at equal length: written anew, the tag would move to the end of the file, which
then is no longer cloud-optimised.
"""

import mmap
from dataclasses import replace
from pathlib import Path

from sciddiff.errors import OutputError
from sciddiff.io.profile import BandProfile, RasterProfile

CARRIER = "SCIDDIFF-BAND-TAGS-6f1c2a9e"
_ATTRIBUTE = f' domain="{CARRIER}"'.encode()


def packed(profile: RasterProfile) -> RasterProfile:
    """Return the profile with the default namespace of its bands under another name.

    Parameters
    ----------
    profile
        To be written to the file that is copied.
    """
    alpha = profile.alpha and _packed(profile.alpha)
    return replace(profile, bands=tuple(_packed(band) for band in profile.bands), alpha=alpha)


def unpack(path: Path, profile: RasterProfile) -> None:
    """Give band tags their default namespace back, in the copied file.

    Parameters
    ----------
    path
        Of the copy.
    profile
        As it is to be, not packed.

    Raises
    ------
    OutputError
        The copy has not as many of them as it should.
    """
    bands = (*profile.bands, profile.alpha) if profile.alpha else profile.bands
    count = sum(len(band.tags.get("", {})) for band in bands)
    if not count:
        return
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as content:
        at = 0
        for _ in range(count):
            at = content.find(_ATTRIBUTE, at)
            if at < 0:
                raise OutputError(f"{path}: band tags got lost in the copy")
            content[at : at + len(_ATTRIBUTE)] = b" " * len(_ATTRIBUTE)
        content.flush()


def _packed(band: BandProfile) -> BandProfile:
    if "" not in band.tags:
        return band
    tags = {space: tags for space, tags in band.tags.items() if space}
    return replace(band, tags={**tags, CARRIER: band.tags[""]})
