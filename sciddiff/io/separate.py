"""Single-band rasters on one grid as the bands of one raster: a virtual one (GDAL's VRT), in memory, as text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from warnings import warn
from xml.etree.ElementTree import Element, SubElement, tostring

from rasterio.crs import CRS

from sciddiff.errors import InputError
from sciddiff.io.dataset import check_length, opened
from sciddiff.io.metadata import read_profile
from sciddiff.io.profile import BandProfile, RasterProfile, RasterWarning, Tags

SAME = 1e-6
"""Grids may differ by this part of a pixel."""


@dataclass(frozen=True)
class Single:
    """A raster with one band, its header only.

    Attributes
    ----------
    path
        As it was given.
    file
        As GDAL says it.
    shape
        (h, w).
    profile
        With one band.
    """

    path: str
    file: str
    shape: tuple[int, int]
    profile: RasterProfile

    @property
    def band(self) -> BandProfile:
        """Its only band."""
        return self.profile.bands[0]

    def called(self, band: BandProfile) -> "Single":
        """Return it with another profile of its band."""
        return replace(self, profile=replace(self.profile, bands=(band,)))


def read_single(path: str) -> Single:
    """Return the header of a single-band raster.

    Parameters
    ----------
    path
        What GDAL opens.

    Raises
    ------
    InputError
        It cannot be opened, is truncated, or has other than one band.
    """
    with opened(path) as src:
        check_length(src, path)
        if src.count > 1:
            raise InputError(f"{path}: has {src.count} bands; files that make one image have one: open it by itself")
        return Single(path, src.files[0], src.shape, read_profile(src, path))


def joined(singles: Sequence[Single], *, tags: Mapping[str, str]) -> str:
    """Return rasters as one, as the text of a VRT.

    What all files say alike becomes the image's, the rest the band's; a pixel is opaque where all masks are.

    Parameters
    ----------
    singles
        One a band.
    tags
        Of the image.

    Raises
    ------
    InputError
        Grids that differ; both files are named.
    """
    first = singles[0]
    for other in singles[1:]:
        if (difference := _difference(first, other)) is not None:
            raise InputError(f"{first.path} and {other.path} are on different grids: {difference}")
    height, width = first.shape
    root = Element("VRTDataset", rasterXSize=str(width), rasterYSize=str(height))
    _georeference(root, first.profile)
    every = [_kept(single) for single in singles]
    shared = _shared(every)
    _metadata(root, _merged(shared, {"": tags}))
    for index, (single, said) in enumerate(zip(singles, every, strict=True), start=1):
        own = {space: {key: said[space][key] for key in said[space].keys() - shared.get(space, {})} for space in said}
        _band(root, single, index=index, tags=_merged(own, single.band.tags))
    masked = [single for single in singles if single.profile.mask]
    if masked:
        mask = SubElement(SubElement(root, "MaskBand"), "VRTRasterBand", dataType="Byte")
        if len(masked) > 1:
            mask.set("subClass", "VRTDerivedRasterBand")
            SubElement(mask, "PixelFunctionType").text = "mul"  # 255 times 255 is clipped to 255
        for single in masked:
            _source(mask, single, "mask,1", kind="Byte")
    return tostring(root, encoding="unicode")


def _difference(one: Single, other: Single) -> str | None:
    """What tells two grids apart, in words."""
    if one.shape != other.shape:
        return f"{one.shape[1]} x {one.shape[0]} and {other.shape[1]} x {other.shape[0]} pixels"
    here, there = one.profile, other.profile
    pixel = max(abs(number) for number in (here.transform.a, here.transform.b, here.transform.d, here.transform.e))
    if not here.transform.almost_equals(there.transform, precision=SAME * pixel):
        return f"their transforms are {tuple(here.transform)[:6]} and {tuple(there.transform)[:6]}"
    if (here.gcps, here.rpcs) != (there.gcps, there.rpcs):
        return "their ground control points or RPCs differ"
    for mine, yours in ((here.crs_wkt, there.crs_wkt), (here.gcp_crs_wkt, there.gcp_crs_wkt)):
        if mine != yours and (not mine or not yours or CRS.from_wkt(mine) != CRS.from_wkt(yours)):
            return f"their CRS are {_crs_name(mine)} and {_crs_name(yours)}"
    return None


def _crs_name(wkt: str | None) -> str:
    return CRS.from_wkt(wkt).to_string() if wkt else "none"


def _kept(single: Single) -> Tags:
    """Tags of a file, but XML: it describes the file, and cannot be told apart by band."""
    xml = [space for space in single.profile.tags if space.startswith("xml:")]
    lost = [space for space in xml if space != "xml:gml.root-instance"]  # which says the grid of a JPEG 2000 again
    if lost:
        warn(f"{single.path}: metadata {', '.join(lost)} is not kept", RasterWarning, stacklevel=2)
    return {space: tags for space, tags in single.profile.tags.items() if space not in xml}


def _shared(every: Sequence[Tags]) -> dict[str, dict[str, str]]:
    shared = {
        space: {key: text for key, text in tags.items() if all(item.get(space, {}).get(key) == text for item in every)}
        for space, tags in every[0].items()
    }
    return {space: tags for space, tags in shared.items() if tags}


def _merged(one: Tags, other: Tags) -> Tags:
    return {space: {**one.get(space, {}), **other.get(space, {})} for space in {**one, **other}}


def _georeference(root: Element, profile: RasterProfile) -> None:
    if profile.crs_wkt:
        SubElement(root, "SRS").text = profile.crs_wkt
    if profile.gcps:
        points = SubElement(root, "GCPList", Projection=profile.gcp_crs_wkt or "")
        for at, point in enumerate(profile.gcps):
            places = {"Pixel": point.col, "Line": point.row, "X": point.x, "Y": point.y, "Z": point.z or 0.0}
            texts = {name: repr(float(number)) for name, number in places.items()}
            SubElement(points, "GCP", {"Id": point.id or str(at + 1), "Info": point.info or "", **texts})
    elif not profile.transform.is_identity:
        SubElement(root, "GeoTransform").text = ", ".join(repr(float(part)) for part in profile.transform.to_gdal())
    if profile.rpcs is not None:
        _metadata(root, {"RPC": profile.rpcs.to_gdal()})


def _band(root: Element, single: Single, *, index: int, tags: Tags) -> None:
    band, kind = single.band, _kind(single.profile.dtype)
    height, width = single.profile.block
    at = SubElement(
        root, "VRTRasterBand", dataType=kind, band=str(index), blockXSize=str(width), blockYSize=str(height)
    )
    _metadata(at, tags)
    SubElement(at, "Description").text = band.name
    if band.nodata is not None:
        SubElement(at, "NoDataValue").text = repr(band.nodata)
    if band.colormap:
        SubElement(at, "ColorInterp").text = "Palette"
        table = SubElement(at, "ColorTable")
        for entry in range(max(band.colormap) + 1):
            numbers = zip(("c1", "c2", "c3", "c4"), band.colormap.get(entry, (0, 0, 0, 255)), strict=True)
            SubElement(table, "Entry", {name: str(number) for name, number in numbers})
    if band.units:
        SubElement(at, "UnitType").text = band.units
    if (band.scale, band.offset) != (1, 0):
        SubElement(at, "Offset").text = repr(float(band.offset))
        SubElement(at, "Scale").text = repr(float(band.scale))
    _source(at, single, "1", kind=kind)


def _metadata(at: Element, spaces: Tags) -> None:
    for space, tags in spaces.items():
        if tags:
            place = SubElement(at, "Metadata", {"domain": space} if space else {})
            for key, text in tags.items():
                SubElement(place, "MDI", key=key).text = text


def _source(at: Element, single: Single, band: str, *, kind: str) -> None:
    """The properties spare GDAL opening the files of bands that are not read."""
    source = SubElement(at, "SimpleSource")
    SubElement(source, "SourceFilename", relativeToVRT="0", shared="0").text = single.file
    SubElement(source, "SourceBand").text = band
    (height, width), (rows, cols) = single.shape, single.profile.block
    properties = {"RasterXSize": width, "RasterYSize": height, "BlockXSize": cols, "BlockYSize": rows}
    texts = {name: str(number) for name, number in properties.items()}
    SubElement(source, "SourceProperties", {"DataType": kind, **texts})


def _kind(dtype: str) -> str:
    """GDAL's name of a type."""
    return "Byte" if dtype == "uint8" else dtype.title().replace("Uint", "UInt")
