"""Data lists, known layouts, splits by patient, the leakage report, and the cached data set that training reads.

`CaseDataset` and the samplers are imported at first use: they need torch and MONAI, the rest does not.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from medseg.datasets.datalist import copy_datalist, load_datalist, read_datalist
from medseg.datasets.folds import deal_folds, write_folds
from medseg.datasets.inputs import list_inputs
from medseg.datasets.label_meaning import check_label_meaning, refuse_swapped_labels
from medseg.datasets.leakage import find_leakage
from medseg.datasets.preparation import prepare
from medseg.datasets.splits import split_by_patient

if TYPE_CHECKING:
    from medseg.datasets.cases import CaseDataset
    from medseg.datasets.loader import CaseLoader
    from medseg.datasets.sampler import EpochSampler, ShareSampler

__all__ = [
    "CaseDataset",
    "CaseLoader",
    "EpochSampler",
    "ShareSampler",
    "check_label_meaning",
    "copy_datalist",
    "deal_folds",
    "find_leakage",
    "list_inputs",
    "load_datalist",
    "prepare",
    "read_datalist",
    "refuse_swapped_labels",
    "split_by_patient",
    "write_folds",
]

_LATE = {
    "CaseDataset": "medseg.datasets.cases",
    "CaseLoader": "medseg.datasets.loader",
    "EpochSampler": "medseg.datasets.sampler",
    "ShareSampler": "medseg.datasets.sampler",
}


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LATE[name]), name)
