"""One volume with many classes, in a process of its own: the work of many_classes.py and growth.py.

python benchmarks/one_volume.py IMAGE.nii.gz medseg|monai|monai-buffered CLASSES [LIMIT_GIB]

Prints seconds and peak memory as one line of JSON. The network is a single 1x1x1 convolution, whose classes are bands
of intensity: what is measured is all that comes before and after a network. With a limit, memory beyond it is refused.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from measure import peak_memory_gib
from torch import Tensor, nn

SPACING_MM, WINDOW, OVERLAP = 1.5, [96, 96, 96], 0.5


def bands(classes: int) -> nn.Module:
    """Class c is where the intensity, 0 to 1, lies nearest to (c + 0.5) / classes: logits are 2 x m - m^2."""
    network = nn.Conv3d(1, classes, 1)
    middle = (torch.arange(classes) + 0.5) / classes
    network.weight.data = (2 * classes * middle).reshape(classes, 1, 1, 1, 1)
    network.bias = nn.Parameter(-classes * middle**2)
    return network.eval()


def medseg(classes: int) -> Callable[[Path, Path], None]:
    """From file to file."""
    from medseg.inference import Segmenter, SlidingWindow
    from medseg.intake import LoadCased
    from medseg.outputs import write_mask
    from medseg.transforms import ResampleToSpacingd, WindowIntensityd

    segmenter = Segmenter(
        network=bands(classes),
        loading=[LoadCased()],
        preprocessing=[
            ResampleToSpacingd("image", spacing_mm=[SPACING_MM] * 3),
            WindowIntensityd("image", window=[-1000, 400]),
        ],
        inferer=SlidingWindow(roi_size=WINDOW, overlap=OVERLAP, precision="fp32"),
    )

    def run(source: Path, target: Path) -> None:
        write_mask(segmenter({"image": str(source), "id": "case"}).labels, target)

    return run


def monai(classes: int, *, buffered: bool) -> Callable[[Path, Path], None]:
    """From file to file; `buffered`: MONAI's `buffer_steps`, which add windows up in slabs before they are stored."""
    from monai.data import MetaTensor
    from monai.inferers import sliding_window_inference
    from monai.transforms import (
        AsDiscreted,
        Compose,
        Invertd,
        LoadImaged,
        Orientationd,
        SaveImage,
        ScaleIntensityRanged,
        Spacingd,
    )

    network = bands(classes)
    preprocessing = Compose(
        [
            LoadImaged("image", ensure_channel_first=True),
            Orientationd("image", axcodes="RAS", labels=None),
            Spacingd("image", pixdim=[SPACING_MM] * 3, mode="bilinear"),
            ScaleIntensityRanged("image", a_min=-1000, a_max=400, b_min=0, b_max=1, clip=True),
        ]
    )
    invert = Invertd("pred", transform=preprocessing, orig_keys="image", nearest_interp=False)
    steps = {"buffer_steps": 2, "buffer_dim": -1} if buffered else {}

    def run(source: Path, target: Path) -> None:
        data = preprocessing({"image": str(source)})
        inputs = data["image"].as_tensor()[None]
        with torch.inference_mode():
            logits = sliding_window_inference(inputs, WINDOW, 1, network, overlap=OVERLAP, mode="gaussian", **steps)
        assert isinstance(logits, Tensor)
        data["pred"] = MetaTensor(logits[0], meta=data["image"].meta)
        del logits
        data = Compose([invert, AsDiscreted("pred", argmax=True)])(data)
        save = SaveImage(output_dir=target.parent, separate_folder=False, print_log=False, output_dtype="uint8")
        save(data["pred"], filename=str(target).removesuffix(".nii.gz"))

    return run


def lacks_memory(error: BaseException | None) -> bool:
    """Whether an error, or what MONAI wrapped in it, says that memory was refused."""
    while error is not None:
        if isinstance(error, MemoryError) or "can't allocate memory" in str(error) or "not enough memory" in str(error):
            return True
        error = error.__cause__
    return False


def main(source: str, side: str, classes: str, limit_gib: str = "") -> None:
    """Run once and print what it took."""
    if limit_gib:
        limit = int(float(limit_gib) * 2**30)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    run = medseg(int(classes)) if side == "medseg" else monai(int(classes), buffered=side == "monai-buffered")
    before = peak_memory_gib()
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        try:
            run(Path(source), Path(folder) / "labels.nii.gz")
        except (RuntimeError, MemoryError) as error:
            if not lacks_memory(error):
                raise
            print(json.dumps({"fits": False}))
            return
        seconds = time.perf_counter() - started
    print(json.dumps({"fits": True, "seconds": seconds, "peak_gib": peak_memory_gib(), "before_gib": before}))


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        main(*sys.argv[1:])
