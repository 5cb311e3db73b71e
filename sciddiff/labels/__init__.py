"""Labels: masks made from images by rules, made new, and turned into maps that a network can see."""

from sciddiff.labels.fields import landscape
from sciddiff.labels.landcover import CLASSES, landcover
from sciddiff.labels.maps import instance_maps, margin, signed_distance
from sciddiff.labels.nuclei_rule import segmented_nuclei, typical_diameter
from sciddiff.labels.procedural import cells, nuclei
from sciddiff.labels.rearrange import Layout, augmented, rearranged
from sciddiff.labels.structure import from_distance, to_distance
from sciddiff.labels.windows import turned_window

__all__ = [
    "CLASSES",
    "Layout",
    "augmented",
    "cells",
    "from_distance",
    "instance_maps",
    "landcover",
    "landscape",
    "margin",
    "nuclei",
    "rearranged",
    "segmented_nuclei",
    "signed_distance",
    "to_distance",
    "turned_window",
    "typical_diameter",
]
