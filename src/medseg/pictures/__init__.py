"""The one drawing module: previews, comparisons with the truth, panels for TensorBoard, label colours."""

from __future__ import annotations

from medseg.pictures.colours import colour_labels, label_colour
from medseg.pictures.curves import save_training_plots
from medseg.pictures.panels import comparison, preview, training_panel

__all__ = [
    "colour_labels",
    "comparison",
    "label_colour",
    "preview",
    "save_training_plots",
    "training_panel",
]
