"""What is done to a label map on its native grid after the network."""

from medseg.postprocess.components import KeepLargestComponents
from medseg.postprocess.holes import FillHoles
from medseg.postprocess.inside import KeepInside

__all__ = ["FillHoles", "KeepInside", "KeepLargestComponents"]
