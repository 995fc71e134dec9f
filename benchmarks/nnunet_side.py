"""nnU-Net v2's side of inference_ct.py; it runs in nnU-Net's own environment, started by that script.

Our network goes through nnU-Net's reader (reoriented, so that left is left), preprocessing, predictor and export with
its default interpolation, step size 0.5 and no mirroring. Its CT normalisation is set to our window of -1000..400 HU.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

UNSET = Path(tempfile.gettempdir()) / "nnunet-unused"
for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
    os.environ.setdefault(variable, str(UNSET))

import torch  # noqa: E402  (nnU-Net reads its variables when it is imported)
from monai.networks.nets import UNet  # noqa: E402
from nnunetv2.imageio.nibabel_reader_writer import NibabelIOWithReorient  # noqa: E402
from nnunetv2.inference.data_iterators import PreprocessAdapterFromNpy  # noqa: E402
from nnunetv2.inference.export_prediction import (  # noqa: E402
    convert_predicted_logits_to_segmentation_with_correct_shape,
)
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor  # noqa: E402
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager  # noqa: E402

DATASET = {
    "channel_names": {"0": "CT"},
    "labels": {"background": 0, "left lung": 1, "right lung": 2},
    "numTraining": 1,
    "file_ending": ".nii.gz",
}


def plans(spacing_mm: float, window: list[int]) -> dict[str, Any]:
    """A plan that leads to the inputs that our bundle makes: axes x, y, z, our spacing, our window of HU."""
    order_3 = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    order_1 = {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None}
    resample = "resample_data_or_seg_to_shape"
    configuration = {
        "data_identifier": "benchmark",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": window,
        "median_image_size_in_voxels": window,
        "spacing": [spacing_mm] * 3,
        "normalization_schemes": ["CTNormalization"],
        "use_mask_for_norm": [False],
        "resampling_fn_data": resample,
        "resampling_fn_seg": resample,
        "resampling_fn_data_kwargs": order_3,
        "resampling_fn_seg_kwargs": {**order_1, "is_seg": True},
        "resampling_fn_probabilities": resample,
        "resampling_fn_probabilities_kwargs": order_1,
        "architecture": {"network_class_name": "UNet", "arch_kwargs": {}, "_kw_requires_import": []},
        "batch_dice": False,
    }
    intensities = {"mean": -1000.0, "std": 1400.0, "percentile_00_5": -1000.0, "percentile_99_5": 400.0}
    return {
        "dataset_name": "Dataset001_Benchmark",
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": [spacing_mm] * 3,
        "original_median_shape_after_transp": window,
        "image_reader_writer": "NibabelIOWithReorient",
        "transpose_forward": [2, 1, 0],
        "transpose_backward": [2, 1, 0],
        "configurations": {"3d_fullres": configuration},
        "foreground_intensity_properties_per_channel": {"0": intensities},
    }


class Case:
    """The predictor, loaded; each call segments the case and gives seconds per stage."""

    def __init__(self, settings: dict[str, Any]) -> None:
        network = UNet(3, 1, 3, [16, 32, 64, 128, 256], [2, 2, 2, 2], num_res_units=1, norm=("INSTANCE", {"affine": 1}))
        weights = torch.load(settings["weights"], weights_only=True)
        self.settings, device = settings, torch.device(settings["device"])
        self.plans = PlansManager(plans(settings["spacing_mm"], settings["window"]))
        self.configuration = self.plans.get_configuration("3d_fullres")
        self.predictor = nnUNetPredictor(
            tile_step_size=1 - settings["overlap"], use_mirroring=False, device=device, allow_tqdm=False
        )
        self.predictor.manual_initialization(
            network.to(device).eval(), self.plans, self.configuration, [weights], DATASET, "benchmark", None
        )

    def __call__(self) -> dict[str, float]:
        """Seconds per stage; the mask is written."""
        marks = [time.perf_counter()]
        reader = NibabelIOWithReorient()
        image, properties = reader.read_images([self.settings["source"]])
        adapter = PreprocessAdapterFromNpy(
            [image], [None], [properties], [None], self.plans, DATASET, self.configuration, 1, False
        )
        case = next(adapter)
        marks.append(time.perf_counter())
        logits = self.predictor.predict_logits_from_preprocessed_data(case["data"]).cpu()
        marks.append(time.perf_counter())
        labels = convert_predicted_logits_to_segmentation_with_correct_shape(
            logits, self.plans, self.configuration, self.predictor.label_manager, case["data_properties"]
        )
        marks.append(time.perf_counter())
        reader.write_seg(labels, self.settings["target"], case["data_properties"])
        marks.append(time.perf_counter())
        names = ("read, resample", "network", "labels on the native grid", "write")
        return {name: after - before for name, before, after in zip(names, marks, marks[1:], strict=False)}


def main(settings: dict[str, Any]) -> None:
    """One case for each line of standard input; an answer for each, marked by @."""
    torch.set_num_threads(settings["threads"])
    case = Case(settings)
    print("@ready", flush=True)
    for _ in sys.stdin:
        print("@" + json.dumps(case()), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
