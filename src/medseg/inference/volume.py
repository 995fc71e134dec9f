"""The network over one volume, window by window, straight to labels on the native grid."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from monai.data.utils import compute_importance_map

from medseg.case import Affine, LabelArray
from medseg.inference.confidence import ClassConfidence, Confidence
from medseg.inference.plan import Foreground, WindowPlan, find_body, grown_window, plan_windows
from medseg.inference.restore import Restoration, Sink, two_classes
from medseg.inference.stream import Stream
from medseg.inference.tta import Network
from medseg.inference.window import SlidingWindow


@dataclass(frozen=True)
class Volume:
    """What the network sees of a case, and where its labels go.

    Attributes
    ----------
    inputs
        ``(C, X, Y[, Z])`` on the network's grid.
    affine, native_affine
        Voxel to mm of the network's and the native grid.
    native_shape
        ``(X, Y[, Z])`` of the image as stored.
    """

    inputs: torch.Tensor
    affine: Affine
    native_affine: Affine
    native_shape: tuple[int, ...]


@dataclass
class _Run:
    """A volume under way: its plan, where its windows' logits go, and the time that putting them there took."""

    volume: Volume
    plan: WindowPlan
    restoration: Restoration
    stream: Stream = field(init=False)
    confidence: Confidence | None = None
    restore_s: float = 0.0

    def start(self, classes: int) -> None:
        self.confidence = Confidence(classes=max(classes, 2), grid_voxels=math.prod(self.plan.box_shape))
        self.restoration.start(max(classes, 2))

    def put(self, logits: torch.Tensor, at: Sequence[int]) -> None:
        started = time.perf_counter()
        self.restoration.put(two_classes(logits), at)
        self.restore_s += time.perf_counter() - started

    def add(self, logits: torch.Tensor, at: Sequence[int]) -> None:
        assert self.confidence is not None, "start comes first"
        self.confidence.add(two_classes(logits), at)


@dataclass(frozen=True)
class Labelled:
    """Labels of a volume on its native grid ``(X, Y[, Z])``, how sure they are, and the time restoring took."""

    labels: LabelArray
    confidence: tuple[ClassConfidence, ...]
    restore_s: float


def label_volumes(
    volumes: Sequence[Volume],
    *,
    network: Network,
    settings: SlidingWindow,
    at_once: int,
    device: torch.device,
    sinks: Sequence[Sequence[Sink]],
) -> list[Labelled]:
    """Run all windows of some volumes, `at_once` in a batch, and label their native grids.

    Parameters
    ----------
    volumes
        With windows of one size.
    network
        Gives logits ``(B, C, X, Y[, Z])`` for windows on `device`.
    sinks
        One sequence for each volume.
    """
    runs = [_begin(volume, settings, device, s) for volume, s in zip(volumes, sinks, strict=True)]
    for group in _of_one_size(runs):
        _run_windows(group, network, at_once, device)
    return [_end(run) for run in runs]


def _begin(volume: Volume, settings: SlidingWindow, device: torch.device, sinks: Sequence[Sink]) -> _Run:
    plan = _plan(volume.inputs, settings)
    affine = np.array(volume.affine)
    affine[:3, 3] += affine[:3, : len(plan.box)] @ [part.start for part in plan.box]
    restoration = Restoration(
        affine=affine,
        native_affine=volume.native_affine,
        shape=plan.box_shape,
        native_shape=volume.native_shape,
        device=device,
        sinks=sinks,
        threshold=settings.threshold,
    )
    run = _Run(volume, plan, restoration)
    weights = compute_importance_map(plan.roi_size, mode=settings.mode, sigma_scale=settings.sigma_scale, device=device)
    run.stream = Stream(plan, axes=restoration.axes, weights=weights, receiver=run, counters=[run])
    return run


def _plan(inputs: torch.Tensor, settings: SlidingWindow) -> WindowPlan:
    foreground: Foreground | None = settings.foreground
    body = find_body(inputs, foreground) if foreground is not None else None
    margin = foreground.margin if foreground is not None else 0
    roi, overlap, shape = tuple(settings.roi_size), settings.overlap, inputs.shape[1:]
    plan = plan_windows(shape, roi_size=roi, overlap=overlap, body=body, margin=margin)
    if settings.window_voxels is None:
        return plan
    roi = grown_window(
        plan.box_shape,
        roi_size=roi,
        overlap=overlap,
        at_most=settings.window_voxels,
        multiple=settings.window_multiple,
    )
    return plan_windows(shape, roi_size=roi, overlap=overlap, body=body, margin=margin)


def _of_one_size(runs: Sequence[_Run]) -> list[list[_Run]]:
    groups: dict[tuple[int, ...], list[_Run]] = {}
    for run in runs:
        groups.setdefault(run.plan.roi_size, []).append(run)
    return list(groups.values())


def _run_windows(runs: Sequence[_Run], network: Network, at_once: int, device: torch.device) -> None:
    windows = [(run, window) for run in runs for window in run.stream.windows()]
    for first in range(0, len(windows), at_once):
        batch = windows[first : first + at_once]
        inputs = torch.cat([_cut(run, window)[None] for run, window in batch]).to(device)
        found = network(inputs)
        for (run, window), logits in zip(batch, found, strict=True):
            run.stream.add(window, logits)
        del found, logits  # not to be held while blocks are handed on and the network runs on the next windows
        for run, _ in batch:
            run.stream.hand_on_finished()


def _cut(run: _Run, window: Sequence[int]) -> torch.Tensor:
    """The window's part of the input ``(C, *roi_size)``, padded with zeros where it reaches over the volume."""
    part = run.volume.inputs
    missing = []
    for axis, index in enumerate(window):
        box, roi = run.plan.box[axis], run.plan.roi_size[axis]
        size = min(roi, box.stop - box.start)
        part = part.narrow(1 + axis, box.start + run.plan.starts[axis][index], size)
        missing.append((run.plan.padding[axis], roi - size - run.plan.padding[axis]))
    padding = list(itertools.chain.from_iterable(reversed(missing)))
    return torch.nn.functional.pad(part, padding) if any(padding) else part


def _end(run: _Run) -> Labelled:
    run.stream.finish(classes=1)
    started = time.perf_counter()
    labels = run.restoration.finish()
    assert run.confidence is not None, "start comes first"
    return Labelled(labels, run.confidence.classes, run.restore_s + time.perf_counter() - started)
