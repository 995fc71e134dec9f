"""How good a segmentation is: overlap per region and case, its spread over cases, how far confidence can be
believed, and the cardiothoracic ratio."""

from __future__ import annotations

from medseg.evaluation.cardiothoracic import CardiothoracicRatio, cardiothoracic_ratio
from medseg.evaluation.metrics import METRICS, Metric
from medseg.evaluation.overlap import Overlap, overlap, overlap_by_region
from medseg.evaluation.reliability import Reliability, ReliabilityCounter, calibration_summary, write_reliability
from medseg.evaluation.scores import CaseScore, score_case, write_scores
from medseg.evaluation.summary import spread, summarise, write_summary

__all__ = [
    "METRICS",
    "CardiothoracicRatio",
    "CaseScore",
    "Metric",
    "Overlap",
    "Reliability",
    "ReliabilityCounter",
    "calibration_summary",
    "cardiothoracic_ratio",
    "overlap",
    "overlap_by_region",
    "score_case",
    "spread",
    "summarise",
    "write_reliability",
    "write_scores",
    "write_summary",
]
