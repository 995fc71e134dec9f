"""Whole jobs over many cases: train, evaluate, predict, score. The only place where rooms meet."""

from medseg.workflows.cases import EvaluateCases, PredictCases
from medseg.workflows.predict import evaluate, predict
from medseg.workflows.score import score
from medseg.workflows.train import train

__all__ = ["EvaluateCases", "PredictCases", "evaluate", "predict", "score", "train"]
