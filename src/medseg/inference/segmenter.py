"""One case from its file to a label map on its own grid."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.transforms import Compose

from medseg.case import Affine, Array, Image
from medseg.inference.precision import channels_last
from medseg.inference.restore import restore_labels


@dataclass(frozen=True)
class ReadCase:
    """A case that is loaded and preprocessed.

    Attributes
    ----------
    native
        The image as it was stored.
    inputs
        What the network gets, ``(C, X, Y[, Z])``.
    affine
        Voxel to mm of `inputs`, (4, 4).
    """

    native: Image
    inputs: torch.Tensor
    affine: Affine


@dataclass(frozen=True)
class ClassConfidence:
    """How sure the network was of the voxels that it gave one label."""

    value: int
    voxels: int
    mean_confidence: float
    mean_entropy: float


@dataclass(frozen=True)
class Segmentation:
    """The image as it was stored and its label map on the same grid.

    Attributes
    ----------
    image, labels
        ``(C, X, Y[, Z])`` and ``(X, Y[, Z])``.
    confidence
        One entry per class, where it was measured.
    notes
        What had to be done otherwise than asked, one sentence each.
    seconds
        Stage ("network", "restore") to wall-clock time.
    """

    image: Image
    labels: Image
    confidence: tuple[ClassConfidence, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)


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
        (segmentation,) = self.segment([self.read(item)])
        return self.finish(segmentation)

    def read(self, item: Mapping[str, Any]) -> ReadCase:
        """Load and preprocess a case on the CPU; may be called from several threads."""
        loaded = self.loading({"image": item["image"]})
        native = _native_image(loaded["image"], Path(str(item["image"])))
        image = self.preprocessing(dict(loaded))["image"]
        return ReadCase(native, image.as_tensor(), np.asarray(image.affine.cpu(), dtype=np.float64))

    def segment(self, cases: Sequence[ReadCase], *, sinks: Sequence[Any] = ()) -> list[Segmentation]:
        """Network and way back to the native grid: one case, or several pictures of one size; from one thread."""
        started = time.perf_counter()
        logits = self.logits(torch.stack([case.inputs for case in cases]))
        network = (time.perf_counter() - started) / len(cases)
        return [self._restored(case, one, network) for case, one in zip(cases, logits, strict=True)]

    def finish(self, segmentation: Segmentation) -> Segmentation:
        """Postprocess on the native grid; may be called from several threads."""
        labels = segmentation.labels.array
        for step in self.postprocessing:
            labels = step(labels, segmentation.labels.affine)
        return replace(segmentation, labels=replace(segmentation.labels, array=labels))

    def _restored(self, case: ReadCase, logits: torch.Tensor, network: float) -> Segmentation:
        started, native = time.perf_counter(), case.native
        labels = restore_labels(
            logits, affine=case.affine, native_affine=native.affine, native_shape=native.array.shape[1:]
        )
        seconds = {"network": network, "restore": time.perf_counter() - started}
        return Segmentation(native, replace(native, array=labels), seconds=seconds)

    def logits(self, inputs: torch.Tensor) -> torch.Tensor:
        """Logits ``(B, C, X, Y[, Z])`` for inputs ``(B, C, X, Y[, Z])`` on the network's grid."""
        # Before inference_mode: parameters laid out anew inside it could never be trained again.
        network = self.network.to(memory_format=channels_last(inputs.ndim - 2))  # type: ignore[call-overload]
        with torch.inference_mode():
            return self.inferer(inputs.to(self.device), network)


def _native_image(loaded: Any, source: Path) -> Image:
    meta = loaded.meta
    affine = np.asarray(loaded.affine.cpu(), dtype=np.float64)
    known = bool(meta.get("spacing_known", True))
    modality = str(meta.get("modality") or "") or None
    # A copy: some of MONAI's transforms write into the array they are given.
    return Image(loaded.as_tensor().numpy().copy(), affine, source, modality, known)
