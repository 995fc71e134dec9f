"""Files in, checked images out: the only door through which medical images enter.

`LoadCased`, `MedsegReader` and `MedsegLabelReader` are loaded when first asked for: they bring MONAI, which takes
seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medseg.intake.files import read_image, read_label
from medseg.intake.inputs import Input, case_id, find_inputs, passed_over, require_input, source_files
from medseg.intake.own_outputs import is_ours
from medseg.pairs import check_pair

if TYPE_CHECKING:
    from medseg.intake.loading import LoadCased
    from medseg.intake.reader import MedsegLabelReader, MedsegReader

__all__ = [
    "Input",
    "LoadCased",
    "MedsegLabelReader",
    "MedsegReader",
    "case_id",
    "check_pair",
    "find_inputs",
    "is_ours",
    "passed_over",
    "read_image",
    "read_label",
    "require_input",
    "source_files",
]


def __getattr__(name: str) -> Any:
    if name == "LoadCased":
        from medseg.intake.loading import LoadCased

        return LoadCased
    if name in ("MedsegLabelReader", "MedsegReader"):
        from medseg.intake import reader

        return getattr(reader, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
