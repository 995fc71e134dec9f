"""Whole jobs over many cases: train, evaluate, predict, score. The only place where rooms meet."""

from medseg.workflows.cases import PredictCases
from medseg.workflows.predict import CaseOptions, evaluate, predict
from medseg.workflows.score import score
from medseg.workflows.scored import EvaluateCases
from medseg.workflows.train import train

__all__ = ["CaseOptions", "EvaluateCases", "PredictCases", "evaluate", "predict", "score", "train"]
