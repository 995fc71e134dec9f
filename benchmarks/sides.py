"""The two sides that several benchmarks compare: a bundle through medseg, and the same through MONAI's own transforms.

Both time their stages; both begin at the closed input file and end at the closed output file.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from medseg.bundle import find_bundle
from medseg.bundle.load import build, open_workflow
from medseg.inference import Segmenter
from medseg.outputs import write_mask

Settings = dict[str, Any]


@dataclass
class Stages:
    """Seconds of each stage, one list entry for each run."""

    seconds: dict[str, list[float]] = field(default_factory=dict)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Time what is inside."""
        started = time.perf_counter()
        yield
        self.add(stage, time.perf_counter() - started)

    def add(self, stage: str, seconds: float) -> None:
        """Add one run's time."""
        self.seconds.setdefault(stage, []).append(seconds)


class MedsegSide:
    """One loaded bundle from file to file, as `medseg predict` does it, without flags, preview and manifest."""

    def __init__(self, bundle: str, overrides: Settings) -> None:
        folder = find_bundle(bundle)
        workflow = open_workflow(folder, "inference", overrides=overrides)
        self.segmenter: Segmenter = build(workflow, folder, "segmenter")
        self.network: torch.nn.Module = self.segmenter.network
        self.stages = Stages()

    def __call__(self, source: Path, target: Path) -> None:
        """Segment `source` into `target` (.nii.gz)."""
        with self.stages.timed("read, resample"):
            case = self.segmenter.read({"image": str(source), "id": "case"})
        (segmentation,) = self.segmenter.segment([case])
        self.stages.add("network", segmentation.seconds["network"])
        self.stages.add("labels on the native grid", segmentation.seconds["restore"])
        with self.stages.timed("components"):
            segmentation = self.segmenter.finish(segmentation)
        with self.stages.timed("write"):
            write_mask(segmentation.labels, target)


class MonaiSide:
    """The same network and settings with MONAI's transforms and its sliding window, in float32, as its bundles do it.

    Parameters
    ----------
    network
        With its weights, on `device`.
    spacing_mm, window, overlap, mode
        As on medseg's side.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        *,
        spacing_mm: float,
        window: list[int],
        overlap: float,
        mode: str,
        device: torch.device,
    ) -> None:
        from monai.transforms import Compose, LoadImaged, Orientationd, ScaleIntensityRanged, Spacingd

        self.network, self.device, self.stages = network, device, Stages()
        self.window, self.overlap, self.mode = window, overlap, mode
        self.windows = 0
        self.preprocessing = Compose(
            [
                LoadImaged("image", ensure_channel_first=True),
                Orientationd("image", axcodes="RAS", labels=None),
                Spacingd("image", pixdim=[spacing_mm] * 3, mode="bilinear"),
                ScaleIntensityRanged("image", a_min=-1000, a_max=400, b_min=0, b_max=1, clip=True),
            ]
        )

    def __call__(self, source: Path, target: Path) -> None:
        """Segment `source` into `target` (.nii.gz)."""
        from monai.data import MetaTensor
        from monai.transforms import AsDiscreted, Compose, Invertd, KeepLargestConnectedComponentd, SaveImage

        with self.stages.timed("read, resample"):
            data = self.preprocessing({"image": str(source)})
        with self.stages.timed("network"), torch.inference_mode():
            logits = self._logits(data["image"][None].to(self.device))[0].cpu()
        data["pred"] = MetaTensor(logits, meta=data["image"].meta)
        invert = Invertd("pred", transform=self.preprocessing, orig_keys="image", nearest_interp=False)
        with self.stages.timed("labels on the native grid"):
            data = Compose([invert, AsDiscreted("pred", argmax=True)])(data)
        with self.stages.timed("components"):
            data = KeepLargestConnectedComponentd("pred", applied_labels=[1, 2])(data)
        with self.stages.timed("write"):
            save = SaveImage(output_dir=target.parent, separate_folder=False, print_log=False, output_dtype="uint8")
            save(data["pred"], filename=str(target).removesuffix(".nii.gz"))

    def _logits(self, inputs: torch.Tensor) -> torch.Tensor:
        from monai.inferers import sliding_window_inference

        self.windows = 0

        def counted(windows: torch.Tensor) -> torch.Tensor:
            self.windows += windows.shape[0]
            result: torch.Tensor = self.network(windows)
            return result

        logits = sliding_window_inference(inputs, self.window, 1, counted, overlap=self.overlap, mode=self.mode)
        assert isinstance(logits, torch.Tensor)
        return logits
