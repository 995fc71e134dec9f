"""Checks of a case inside a transform chain, where image and mask are first seen together."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from monai.transforms import MapTransform

from medseg.case import Image
from medseg.pairs import check_pair


class CheckCased(MapTransform):
    """Refuse a case whose mask lies on another grid than its image, or holds values that are no labels of the bundle.

    Parameters
    ----------
    image_key, label_key
        Where the loaded image ``(C, X, Y[, Z])`` and mask ``(1, X, Y[, Z])`` stand; a case without mask passes.
    labels
        The bundle's labels: their values, or the mapping of metadata.json ("0": "background", ...).
    """

    def __init__(self, *, labels: Collection[int | str], image_key: str = "image", label_key: str = "label") -> None:
        super().__init__([image_key, label_key], allow_missing_keys=True)
        self.image_key, self.label_key = image_key, label_key
        self.labels = sorted(int(value) for value in labels)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        if self.label_key in data:
            image, label = _placed(data[self.image_key]), _placed(data[self.label_key])
            label = replace(label, array=label.array[0])
            check_pair(image, label, case_id=str(data.get("id", "")), labels=self.labels)
        return dict(data)


def _placed(image: Any) -> Image:
    known = bool(image.meta.get("spacing_known", True))
    return Image(image.numpy(), np.asarray(image.affine, dtype=np.float64), Path(_file(image)), spacing_known=known)


def _file(image: Any) -> str:
    return str(image.meta.get("filename_or_obj", "mask"))
