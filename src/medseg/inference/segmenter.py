"""One case from its file to a label map on its own grid."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.transforms import Compose

from medseg.case import Array, Image
from medseg.inference.precision import channels_last
from medseg.inference.restore import restore_labels


@dataclass(frozen=True)
class Segmentation:
    """The image as it was stored and its label map on the same grid."""

    image: Image
    labels: Image


class Segmenter:
    """Load, preprocess, run the network, bring the labels back to the native grid, postprocess.

    Parameters
    ----------
    network
        Gives logits ``(B, C, X, Y[, Z])``; its weights are loaded.
    loading
        MONAI transforms that read `image` (with medseg's reader).
    preprocessing
        Deterministic MONAI transforms on the dictionary, key `image`, those of training.
    inferer
        MONAI inferer, called as ``inferer(inputs, network)``.
    postprocessing
        Functions from labels ``(X, Y[, Z])`` and affine to labels, applied in order on the native grid.
    device
        Where the network runs.
    """

    def __init__(
        self,
        *,
        network: torch.nn.Module,
        loading: Sequence[Callable[..., Any]],
        preprocessing: Sequence[Callable[..., Any]],
        inferer: Callable[..., torch.Tensor],
        postprocessing: Sequence[Callable[..., Array]] = (),
        device: torch.device | str = "cpu",
    ) -> None:
        self.device = torch.device(device)
        self.network = network.to(self.device).eval()
        self.loading, self.preprocessing = Compose(list(loading)), Compose(list(preprocessing))
        self.inferer, self.postprocessing = inferer, tuple(postprocessing)

    def __call__(self, item: Mapping[str, Any]) -> Segmentation:
        """Segment the case of a datalist item (key `image`: path)."""
        loaded = self.loading({"image": item["image"]})
        native = _native_image(loaded["image"], Path(str(item["image"])))
        logits, affine = self.logits(loaded)
        labels: Array = restore_labels(
            logits, affine=affine, native_affine=native.affine, native_shape=native.array.shape[1:]
        )
        for step in self.postprocessing:
            labels = step(labels, native.affine)
        return Segmentation(native, Image(labels, native.affine, native.source, native.modality, native.spacing_known))

    def logits(self, loaded: Mapping[str, Any]) -> tuple[torch.Tensor, Array]:
        """Logits ``(C, X, Y[, Z])`` on the network's grid and that grid's affine (4, 4)."""
        image = self.preprocessing(dict(loaded))["image"]
        inputs = image.as_tensor()[None].to(self.device)
        # Before inference_mode: parameters laid out anew inside it could never be trained again.
        network = self.network.to(memory_format=channels_last(inputs.ndim - 2))  # type: ignore[call-overload]
        with torch.inference_mode():
            return self.inferer(inputs, network)[0], np.asarray(image.affine.cpu(), dtype=np.float64)


def _native_image(loaded: Any, source: Path) -> Image:
    meta = loaded.meta
    affine = np.asarray(loaded.affine.cpu(), dtype=np.float64)
    known = bool(meta.get("spacing_known", True))
    modality = str(meta.get("modality") or "") or None
    # A copy: some of MONAI's transforms write into the array they are given.
    return Image(loaded.as_tensor().numpy().copy(), affine, source, modality, known)
