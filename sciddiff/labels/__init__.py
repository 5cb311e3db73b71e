"""Labels: masks made from images by rules, made new, and turned into maps that a network can see."""

from sciddiff.labels.landcover import CLASSES, landcover
from sciddiff.labels.maps import instance_maps, margin, signed_distance
from sciddiff.labels.nuclei_rule import segmented_nuclei, typical_diameter

__all__ = [
    "CLASSES",
    "instance_maps",
    "landcover",
    "margin",
    "segmented_nuclei",
    "signed_distance",
    "typical_diameter",
]
