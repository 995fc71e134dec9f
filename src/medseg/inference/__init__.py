"""From an image to labels on its own grid: precision and device, windows, restoration, one whole case."""

from medseg.inference.confidence import ClassConfidence
from medseg.inference.plan import Foreground
from medseg.inference.precision import (
    Precision,
    autocast,
    channels_last,
    choose_precision,
    has_fast_bfloat16,
    resolve_precision,
)
from medseg.inference.precision_record import LEAST_DICE, DeviceTraits, PrecisionRecord, add_record, read_records
from medseg.inference.restore import Sink, restore_labels
from medseg.inference.segmenter import ReadCase, Segmentation, Segmenter
from medseg.inference.tta import Mirror
from medseg.inference.window import SlidingWindow

__all__ = [
    "LEAST_DICE",
    "ClassConfidence",
    "DeviceTraits",
    "Foreground",
    "Mirror",
    "Precision",
    "PrecisionRecord",
    "ReadCase",
    "Segmentation",
    "Segmenter",
    "Sink",
    "SlidingWindow",
    "add_record",
    "autocast",
    "channels_last",
    "choose_precision",
    "has_fast_bfloat16",
    "read_records",
    "resolve_precision",
    "restore_labels",
]
