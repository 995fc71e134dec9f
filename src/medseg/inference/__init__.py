"""From an image to labels on its own grid: precision and device, windows, restoration, one whole case."""

from medseg.inference.precision import Precision, autocast, channels_last, has_fast_bfloat16, resolve_precision
from medseg.inference.restore import restore_labels
from medseg.inference.segmenter import ClassConfidence, ReadCase, Segmentation, Segmenter
from medseg.inference.window import SlidingWindow

__all__ = [
    "ClassConfidence",
    "Precision",
    "ReadCase",
    "Segmentation",
    "Segmenter",
    "SlidingWindow",
    "autocast",
    "channels_last",
    "has_fast_bfloat16",
    "resolve_precision",
    "restore_labels",
]
