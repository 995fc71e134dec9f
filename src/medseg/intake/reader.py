"""The door as MONAI ImageReaders, so that `LoadImaged` in any bundle reads and refuses as medseg does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from monai.data.image_reader import ImageReader
from monai.utils import MetaKeys, SpaceKeys

from medseg.case import Array, Image
from medseg.errors import DataError
from medseg.intake.files import read_image, read_label


@dataclass(frozen=True)
class _Pending:
    """A file that `get_data` is going to read."""

    path: Path


class _Reader(ImageReader):
    """`read` only takes the name and `get_data` does the work.

    MONAI's LoadImage catches whatever `read` raises and falls back to its own readers, which would let a refused
    file in without a word; it does not catch what `get_data` raises.
    """

    _load: Callable[[Path], Image]

    def verify_suffix(self, filename: Any) -> bool:
        """Every file is ours to read or to refuse."""
        return True

    def read(self, data: Any, **kwargs: Any) -> _Pending | list[_Pending]:
        """The handle of one file; several files are refused by `get_data`."""
        names = [data] if isinstance(data, (str, Path)) else list(data)
        pending = [_Pending(Path(name)) for name in names]
        return pending[0] if len(pending) == 1 else pending

    def get_data(self, img: Any) -> tuple[Array, dict[str, Any]]:
        """Array ``(C, X, Y[, Z])`` and its meta data: plain values that collate."""
        if not isinstance(img, _Pending):
            raise _several(img)
        image = self._load(img.path)
        return image.array, _meta(image)


class MedsegReader(_Reader):
    """Images: `LoadImaged(keys="image", reader="medseg.intake.MedsegReader", ensure_channel_first=True)`.

    Parameters
    ----------
    modality, spatial_dims
        What every image has to be, as in `read_image`; `LoadImaged` hands them on.
    """

    def __init__(self, modality: str | None = None, spatial_dims: int | None = None) -> None:
        self._load = partial(read_image, modality=modality, spatial_dims=spatial_dims)


def _label_with_channel(path: Path, reference: Path | None = None) -> Image:
    label = read_label(path, reference=reference)
    return Image(label.array[None], label.affine, label.source, label.modality, label.spacing_known)


class MedsegLabelReader(_Reader):
    """Masks: integers whatever they were stored as, refused where they are none.

    An RTSTRUCT or a DICOM SEG is given as two paths, `[mask, image]`: it comes onto the grid of its image.
    """

    _load = staticmethod(_label_with_channel)

    def get_data(self, img: Any) -> tuple[Array, dict[str, Any]]:
        """Array ``(1, X, Y[, Z])`` and its meta data."""
        if isinstance(img, list) and len(img) == 2:
            label = _label_with_channel(img[0].path, img[1].path)
            return label.array, _meta(label)
        return super().get_data(img)


def _meta(image: Image) -> dict[str, Any]:
    return {
        str(MetaKeys.AFFINE): image.affine.copy(),
        str(MetaKeys.ORIGINAL_AFFINE): image.affine.copy(),
        str(MetaKeys.SPATIAL_SHAPE): np.asarray(image.array.shape[1:]),
        str(MetaKeys.SPACE): str(SpaceKeys.RAS),
        str(MetaKeys.ORIGINAL_CHANNEL_DIM): 0,
        "modality": image.modality or "",
        "spacing_known": image.spacing_known,
        "doubts": "\n".join(image.doubts),
    }


def _several(pending: Sequence[_Pending]) -> DataError:
    return DataError(
        "several files for one image", got=", ".join(str(p.path) for p in pending), expected="one file per image"
    )
