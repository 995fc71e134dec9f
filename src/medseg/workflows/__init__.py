"""Whole jobs over many cases: train, evaluate, predict, score. The only place where rooms meet.

Importing this package imports neither torch nor MONAI, so that masks are scored without waiting for them: what stands
in a bundle's configuration is fetched when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from medseg.workflows.predict import CaseOptions, evaluate, predict
from medseg.workflows.score import score
from medseg.workflows.train import train

if TYPE_CHECKING:
    from medseg.workflows.cases import PredictCases
    from medseg.workflows.scored import EvaluateCases

__all__ = ["CaseOptions", "EvaluateCases", "PredictCases", "evaluate", "predict", "score", "train"]

_ROOMS = {"EvaluateCases": "scored", "PredictCases": "cases"}


def __getattr__(name: str) -> object:
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_ROOMS[name]}"), name)
