"""Results on disk: masks on the input's grid, previews, manifests, the report of a run."""

from __future__ import annotations

from medseg.outputs.algorithm import Algorithm
from medseg.outputs.folders import (
    check_apart,
    check_file_name,
    check_output_folder,
    check_unscored,
    prepare_output_folder,
)
from medseg.outputs.formats import FORMATS, Meaning, check_formats, known_formats, write_formats
from medseg.outputs.masks import write_mask
from medseg.outputs.predictions import save_picture, write_prediction
from medseg.outputs.probabilities import ProbabilityFiles
from medseg.outputs.report import CaseReport, Report, write_report

__all__ = [
    "FORMATS",
    "Algorithm",
    "CaseReport",
    "Meaning",
    "ProbabilityFiles",
    "Report",
    "check_apart",
    "check_file_name",
    "check_formats",
    "check_output_folder",
    "check_unscored",
    "known_formats",
    "prepare_output_folder",
    "save_picture",
    "write_formats",
    "write_mask",
    "write_prediction",
    "write_report",
]
