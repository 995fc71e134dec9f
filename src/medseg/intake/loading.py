"""Image and mask of a case as tensors in the order and type in which they are stored."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.data.image_reader import ImageReader
from monai.transforms import Transform
from monai.utils import ImageMetaKey, MetaKeys, ensure_tuple

from medseg.case import Array
from medseg.intake.reader import MedsegLabelReader, MedsegReader


class LoadCased(Transform):
    """MONAI's LoadImaged with medseg's readers, without its copies: a whole CT loads in a third of the time.

    LoadImaged converts what it read to float32 and lays it out anew, which takes longer than reading. Here integers
    stay integers and the memory stays as the file has it; what works on intensities converts them
    (`ResampleToSpacingd` while it resamples).

    Parameters
    ----------
    image_key, label_key
        Where the dictionary names the files of image and mask; a case may have no mask. They become MetaTensors
        ``(C, X, Y[, Z])`` and ``(1, X, Y[, Z])`` with the same meta data that LoadImaged gives.
    modality, spatial_dims
        What every image has to be, as in `read_image`; None allows any.
    """

    def __init__(
        self,
        *,
        image_key: str = "image",
        label_key: str = "label",
        modality: str | None = None,
        spatial_dims: int | None = None,
    ) -> None:
        image_reader = MedsegReader(modality=modality, spatial_dims=spatial_dims)
        self.readers: dict[str, ImageReader] = {image_key: image_reader, label_key: MedsegLabelReader()}
        self.label_key = label_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The dictionary with its files loaded."""
        loaded = dict(data)
        for key, reader in self.readers.items():
            if key in data or key != self.label_key:
                loaded[key] = _loaded(reader, data[key])
        return loaded


def _loaded(reader: ImageReader, source: Any) -> MetaTensor:
    array, meta = reader.get_data(reader.read(source))
    meta[str(ImageMetaKey.FILENAME_OR_OBJ)] = str(ensure_tuple(source)[0])
    affine = torch.as_tensor(meta.pop(str(MetaKeys.AFFINE)))
    return MetaTensor(torch.from_numpy(_workable(array)), affine=affine, meta=meta)


def _workable(array: Array) -> Array:
    """PyTorch has next to no operations on uint16, and cannot hold memory that must not be written to."""
    if array.dtype == np.uint16:
        return array.astype(np.int32, order="K")
    return array if array.flags.writeable else array.copy(order="K")
