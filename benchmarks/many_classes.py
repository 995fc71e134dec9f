"""100 classes on 512x512x400: medseg, and MONAI full and buffered at the most classes that fit a limit of memory.

python benchmarks/many_classes.py [--shape 512 512 400] [--classes 100] [--limit-gib 8] [--seed 0]

Each run is a process of its own (one_volume.py) and goes from file to file: smooth noise of 0.75x0.75x1.5 mm, a network
of one 1x1x1 convolution at 1.5 mm, windows of 96 with half overlap. MONAI keeps a float32 volume of all classes on the
network's grid and another on the native grid; what that takes is computed, and where it is above the limit, or where
the process is refused more memory, it does not fit.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import nibabel
import numpy as np
import torch
from measure import Table, in_fresh_process, publish
from one_volume import SPACING_MM

WORK = Path(__file__).with_name("one_volume.py")
NATIVE_MM = (0.75, 0.75, 1.5)
BASE_GIB = 1.0
"""Of the limit, for Python, torch, the image and what else is not a volume per class."""


def main(*, shape: tuple[int, int, int], classes: int, limit_gib: float, seed: int) -> None:
    """Print and write the table."""
    table = Table(
        f"{classes} classes, {'x'.join(map(str, shape))}, limit {limit_gib:g} GiB",
        ["side", "classes", "volumes of all classes, GiB", "seconds", "peak memory, GiB"],
    )
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "image.nii.gz"
        write_noise(image, shape=shape, seed=seed)
        for side in ("monai", "monai-buffered"):
            most = most_classes(image, side, shape, classes, limit_gib)
            table.rows.append(most)
            fits = int(str(most[1]))
            if fits < classes:
                table.rows.append([side, classes, volumes_gib(shape, classes), "does not fit", "does not fit"])
        counts = sorted({int(str(row[1])) for row in table.rows} | {classes})
        for count in counts:
            done = in_fresh_process(WORK, image, "medseg", count, limit_gib)
            row = [done["seconds"], done["peak_gib"]] if done["fits"] else ["does not fit"] * 2
            table.rows.append(["medseg", count, "none kept", *row])
    publish("many_classes", [table], settings={"shape": shape, "seed": seed, "limit GiB": limit_gib})


def most_classes(image: Path, side: str, shape: tuple[int, int, int], classes: int, limit_gib: float) -> list[object]:
    """A row of the most classes with which this side of MONAI ends within the limit."""
    count = min(classes, max(1, int((limit_gib - BASE_GIB) / volumes_gib(shape, 1))))
    while count:
        done = in_fresh_process(WORK, image, side, count, limit_gib)
        if done["fits"]:
            return [side, count, volumes_gib(shape, count), done["seconds"], done["peak_gib"]]
        count = min(count - 1, int(count * 0.75))
    return [side, 0, 0.0, "does not fit", "does not fit"]


def volumes_gib(shape: tuple[int, int, int], classes: int) -> float:
    """Of float32 logits on the network's grid and on the native one."""
    native = float(np.prod(shape))
    network = native * float(np.prod(NATIVE_MM)) / SPACING_MM**3
    return 4 * classes * (native + network) / 2**30


def write_noise(path: Path, *, shape: tuple[int, int, int], seed: int) -> None:
    """Smooth noise over all the range from -1000 to 400."""
    torch.manual_seed(seed)
    coarse = torch.rand(1, 1, *(max(2, n // 32) for n in shape))
    smooth = torch.nn.functional.interpolate(coarse, size=shape, mode="trilinear", align_corners=True)[0, 0]
    low, high = smooth.min(), smooth.max()
    values = ((smooth - low) / (high - low) * 1400 - 1000).round().to(torch.int16).numpy()
    nibabel.save(nibabel.Nifti1Image(values, np.diag([*NATIVE_MM, 1.0])), path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=int, nargs=3, default=(512, 512, 400))
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--limit-gib", type=float, default=8.0)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    x, y, z = given.shape
    main(shape=(x, y, z), classes=given.classes, limit_gib=given.limit_gib, seed=given.seed)
