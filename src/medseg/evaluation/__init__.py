"""How good a segmentation is: overlap, distances, volumes and lesions per region and case, their spread over cases, how
far confidence can be believed, and the cardiothoracic ratio."""

from __future__ import annotations

from medseg.evaluation.cardiothoracic import CardiothoracicRatio, cardiothoracic_ratio
from medseg.evaluation.centreline import centreline_dice
from medseg.evaluation.lesions import LesionRule, LesionScores, lesion_scores
from medseg.evaluation.metrics import METRICS, Metric
from medseg.evaluation.overlap import Overlap, label_values, overlap, overlap_by_region
from medseg.evaluation.plan import ScorePlan
from medseg.evaluation.reliability import Reliability, ReliabilityCounter, calibration_summary, write_reliability
from medseg.evaluation.scores import CaseScore, score_case, write_scores
from medseg.evaluation.summary import spread, summarise, write_summary
from medseg.evaluation.surface import SurfaceDistances, image_diagonal, surface_distances

__all__ = [
    "METRICS",
    "CardiothoracicRatio",
    "CaseScore",
    "LesionRule",
    "LesionScores",
    "Metric",
    "Overlap",
    "Reliability",
    "ReliabilityCounter",
    "ScorePlan",
    "SurfaceDistances",
    "calibration_summary",
    "cardiothoracic_ratio",
    "centreline_dice",
    "image_diagonal",
    "label_values",
    "lesion_scores",
    "overlap",
    "overlap_by_region",
    "score_case",
    "spread",
    "summarise",
    "surface_distances",
    "write_reliability",
    "write_scores",
    "write_summary",
]
