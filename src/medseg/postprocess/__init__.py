"""What is done to a label map on its native grid after the network."""

from medseg.postprocess.components import KeepLargestComponents

__all__ = ["KeepLargestComponents"]
