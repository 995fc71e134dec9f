"""Checks of a case inside a transform chain, where image and mask are first seen together."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from monai.transforms import MapTransform

from medseg.case import Image
from medseg.errors import GeometryError, LabelError
from medseg.geometry import grid_difference


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
        self.labels = np.array(sorted(int(value) for value in labels))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        if self.label_key in data:
            image, label = data[self.image_key], data[self.label_key]
            case = f"case {data['id']}: " if "id" in data else ""
            self._check_grid(image, label, case)
            self._check_values(label, case)
        return dict(data)

    def _check_grid(self, image: Any, label: Any, case: str) -> None:
        difference = grid_difference(_placed(image), _placed(label), spatial_dims=image.ndim - 1)
        if difference is not None:
            raise GeometryError(
                f"{case}{_file(label)}: the mask lies on another grid than {_file(image)}",
                got=f"{difference} (image against mask)",
                expected="the same size, spacing, direction and origin",
                next_step="resample the mask onto the image's grid before training",
            )

    def _check_values(self, label: Any, case: str) -> None:
        values = label.numpy()
        # A dozen comparisons, not a sort: a whole CT takes tenths of a second instead of many.
        unknown = np.unique(values[np.isin(values, self.labels, invert=True)])
        if unknown.size:
            raise LabelError(
                f"{case}{_file(label)}: the mask holds values that are no labels of the bundle",
                got=", ".join(f"{v:g}" for v in unknown[:10]),
                expected=", ".join(str(v) for v in self.labels),
            )


def _placed(image: Any) -> Image:
    known = bool(image.meta.get("spacing_known", True))
    return Image(image.numpy(), np.asarray(image.affine, dtype=np.float64), Path(_file(image)), spacing_known=known)


def _file(image: Any) -> str:
    return str(image.meta.get("filename_or_obj", "mask"))
