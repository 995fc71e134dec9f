"""One case from its file to a label map on its own grid."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.transforms import Compose

from medseg.case import Affine, Array, Image
from medseg.inference.backends import Backend
from medseg.inference.confidence import ClassConfidence
from medseg.inference.precision import Precision, channels_last, choose_precision
from medseg.inference.restore import Sink, restore_labels, two_classes
from medseg.inference.runner import WindowRunner
from medseg.inference.volume import Volume
from medseg.inference.window import SlidingWindow


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
class Segmentation:
    """The image as it was stored and its label map on the same grid.

    Attributes
    ----------
    image, labels
        ``(C, X, Y[, Z])`` and ``(X, Y[, Z])``.
    confidence
        One entry per class that the network found, before postprocessing; none where the bundle's inferer is not
        medseg's `SlidingWindow`.
    notes
        What had to be done otherwise than asked, one sentence each.
    seconds
        Stage ("network", "restore") to wall-clock time; pictures that went through together share the network's.
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
        medseg's `SlidingWindow`, which brings labels to the native grid slab by slab; or any inferer of MONAI,
        called as ``inferer(inputs, network)`` for the logits of the whole volume.
    postprocessing
        Functions from labels ``(X, Y[, Z])`` and affine to labels, applied in order on the native grid.
    device
        Where the network runs.
    precision_record, weights
        The bundle's models/precision.json and the checkpoints in `network`: with them precision "auto" may choose
        bfloat16 (`choose_precision`); without them, and with another back end than torch, it is float32.
    backend
        What runs the network in medseg's `SlidingWindow`: "torch", or "openvino" where its extra is installed.
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
        precision_record: str | None = None,
        weights: str | Sequence[str] = (),
        backend: Backend = "torch",
    ) -> None:
        self.device, self.backend = torch.device(device), backend
        record = Path(precision_record) if precision_record is not None else None
        asked: Precision = getattr(inferer, "precision", "fp32")  # of MONAI's own inferers: as the network is
        self._precisions: dict[torch.device, torch.dtype] = {}
        self._choose = partial(choose_precision, asked, record=record, weights=weights, backend=backend)
        self.network = network.to(self.device).eval()
        self.loading, self.preprocessing = Compose(list(loading)), Compose(list(preprocessing))
        # Some of MONAI's transforms write into the array they are given; ours say that they do not.
        self._may_write = any(getattr(step, "writes_to_input", True) for step in preprocessing)
        self.inferer, self.postprocessing = inferer, tuple(postprocessing)
        self._runner: WindowRunner | None = None
        if isinstance(inferer, SlidingWindow):
            self._runner = WindowRunner(
                self.network, settings=inferer, device=self.device, precision=self.precision_on, backend=backend
            )

    def precision_on(self, device: torch.device) -> torch.dtype:
        """The number format of the network's arithmetic on `device`; why it is float32 is logged once."""
        if device not in self._precisions:
            self._precisions[device] = self._choose(device=device)
        return self._precisions[device]

    def __call__(self, item: Mapping[str, Any]) -> Segmentation:
        """Segment the case of a datalist item (key `image`: path)."""
        (segmentation,) = self.segment([self.read(item)])
        return self.finish(segmentation)

    def read(self, item: Mapping[str, Any]) -> ReadCase:
        """Load and preprocess a case on the CPU; may be called from several threads."""
        return self.prepare(self.loading({"image": item["image"]}), source=Path(str(item["image"])))

    def prepare(self, loaded: Mapping[str, Any], *, source: Path) -> ReadCase:
        """Preprocess a case that is loaded already (key `image`: what `loading` gave), or was changed since."""
        native = _native_image(loaded["image"], source, shared=not self._may_write)
        image = self.preprocessing(dict(loaded))["image"]
        return ReadCase(native, image.as_tensor(), np.asarray(image.affine.cpu(), dtype=np.float64))

    def segment(self, cases: Sequence[ReadCase], *, sinks: Sequence[Sink] = ()) -> list[Segmentation]:
        """Network and way back to the native grid: one case, or several at once; from one thread.

        Where memory does not suffice it is done again with fewer windows at once and at last on the CPU, and the
        segmentations' notes say so.

        Parameters
        ----------
        sinks
            Get the case's logits on its native grid; for one case at a time.
        """
        assert len(cases) == 1 or not sinks, "a sink takes one case"
        if self._runner is None:
            return self._segment_whole(cases, sinks)
        started = time.perf_counter()
        volumes = [Volume(c.inputs, c.affine, c.native.affine, c.native.array.shape[1:]) for c in cases]
        found, notes = self._runner(volumes, sinks=[sinks] * len(cases))
        restore_s = sum(labelled.restore_s for labelled in found)
        network_s = (time.perf_counter() - started - restore_s) / len(cases)
        return [
            Segmentation(
                case.native,
                replace(case.native, array=labelled.labels),
                confidence=labelled.confidence,
                notes=notes,
                seconds={"network": network_s, "restore": labelled.restore_s},
            )
            for case, labelled in zip(cases, found, strict=True)
        ]

    def finish(self, segmentation: Segmentation) -> Segmentation:
        """Postprocess on the native grid; may be called from several threads."""
        labels = segmentation.labels.array
        for step in self.postprocessing:
            labels = step(labels, segmentation.labels.affine)
        return replace(segmentation, labels=replace(segmentation.labels, array=labels))

    def _segment_whole(self, cases: Sequence[ReadCase], sinks: Sequence[Sink]) -> list[Segmentation]:
        """Any other inferer of MONAI: logits of the whole volume, then labels."""
        started = time.perf_counter()
        logits = self.logits(torch.stack([case.inputs for case in cases]))
        network_s = (time.perf_counter() - started) / len(cases)
        return [self._restored(case, one, network_s, sinks) for case, one in zip(cases, logits, strict=True)]

    def _restored(self, case: ReadCase, logits: torch.Tensor, network_s: float, sinks: Sequence[Sink]) -> Segmentation:
        started, native = time.perf_counter(), case.native
        labels = restore_labels(
            two_classes(logits),
            affine=case.affine,
            native_affine=native.affine,
            native_shape=native.array.shape[1:],
            sinks=sinks,
        )
        seconds = {"network": network_s, "restore": time.perf_counter() - started}
        return Segmentation(native, replace(native, array=labels), seconds=seconds)

    def logits(self, inputs: torch.Tensor) -> torch.Tensor:
        """Logits ``(B, C, X, Y[, Z])`` for inputs ``(B, C, X, Y[, Z])`` on the network's grid, in one piece."""
        network = self.network.to(memory_format=channels_last(inputs.ndim - 2))  # type: ignore[call-overload]
        with torch.inference_mode():
            return self.inferer(inputs.to(self.device), network)


def _native_image(loaded: Any, source: Path, *, shared: bool) -> Image:
    """The image as it was loaded; `shared` takes its memory, too, which is a fifth of the time of reading a CT."""
    meta = loaded.meta
    affine = np.asarray(loaded.affine.cpu(), dtype=np.float64)
    known = bool(meta.get("spacing_known", True))
    modality = str(meta.get("modality") or "") or None
    array = loaded.as_tensor().numpy()
    doubts = tuple(str(meta.get("doubts") or "").splitlines())
    return Image(array if shared else array.copy(order="K"), affine, source, modality, known, doubts)
