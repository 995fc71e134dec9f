"""From an image to labels on its own grid: precision and device, windows, restoration, one whole case."""

from medseg.inference.confidence import ClassConfidence
from medseg.inference.plan import Foreground
from medseg.inference.precision import Precision, autocast, channels_last, has_fast_bfloat16, resolve_precision
from medseg.inference.restore import Sink, restore_labels
from medseg.inference.segmenter import ReadCase, Segmentation, Segmenter
from medseg.inference.tta import Mirror
from medseg.inference.window import SlidingWindow

__all__ = [
    "ClassConfidence",
    "Foreground",
    "Mirror",
    "Precision",
    "ReadCase",
    "Segmentation",
    "Segmenter",
    "Sink",
    "SlidingWindow",
    "autocast",
    "channels_last",
    "has_fast_bfloat16",
    "resolve_precision",
    "restore_labels",
]
