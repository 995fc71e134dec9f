"""What reading, resampling, cleaning and writing one CT cost, each beside the other ways to do it.

python benchmarks/parts.py CT.nii.gz [--spacing-mm 1.5] [--runs 5]

Prints the median and the shortest of the runs in milliseconds, after one that is not counted, and the ratio of each
median to medseg's. The mask that is cleaned and written is made from the CT: bone, soft tissue and what they enclose.
"""

from __future__ import annotations

import argparse
import gzip
import statistics
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from medseg.case import Array, Image
from medseg.intake import LoadCased, read_image
from medseg.outputs import write_mask
from medseg.postprocess import FillHoles, KeepLargestComponents
from medseg.transforms import ResampleToSpacingd, WindowIntensityd

Ways = Mapping[str, Callable[[], object]]


def main(path: Path, *, spacing_mm: float, runs: int) -> None:
    """Print one table for each part."""
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    image = read_image(path)
    labels = _labels(image.array[0])
    report("read", reading(path), runs)
    report("read, resample, scale", preprocessing(path, spacing_mm), runs)
    report(f"resample {image.array.shape[1:]} to {spacing_mm} mm", resampling(path, spacing_mm), runs)
    report("largest component of 2 labels", cleaning(labels, image), runs)
    report("fill holes of 2 labels", filling(labels, image), runs)
    with TemporaryDirectory() as folder:
        report("write a label map", writing(labels, image, Path(folder) / "mask.nii.gz"), runs)


def report(title: str, ways: Ways, runs: int) -> None:
    """Time each way; the first is medseg's."""
    print(f"\n{title}")
    medians = {}
    for name, way in ways.items():
        way()
        seconds = []
        for _ in range(runs):
            started = time.perf_counter()
            way()
            seconds.append(time.perf_counter() - started)
        medians[name] = statistics.median(seconds)
        ratio = medians[name] / next(iter(medians.values()))
        print(f"  {name:<34} {medians[name] * 1e3:8.1f} ms (shortest {min(seconds) * 1e3:8.1f})  x{ratio:.1f}")


def reading(path: Path) -> Ways:
    """The whole volume in memory, as stored."""
    import nibabel
    import SimpleITK

    return {
        "medseg (ISA-L, with checks)": lambda: read_image(path),
        "SimpleITK": lambda: SimpleITK.GetArrayViewFromImage(SimpleITK.ReadImage(str(path))),
        "nibabel": lambda: np.asanyarray(nibabel.load(path).dataobj),
    }


def preprocessing(path: Path, spacing_mm: float) -> Ways:
    """From the file to what the network gets, as a bundle declares it."""
    from monai.transforms import Compose, LoadImaged, Orientationd, ScaleIntensityRanged, Spacingd

    ours = Compose(
        [
            LoadCased(),
            ResampleToSpacingd("image", spacing_mm=[spacing_mm] * 3),
            WindowIntensityd("image", window=[-1000, 400]),
        ]
    )
    monai = Compose(
        [
            LoadImaged("image", ensure_channel_first=True),
            Orientationd("image", axcodes="RAS", labels=None),
            Spacingd("image", pixdim=[spacing_mm] * 3, mode="bilinear"),
            ScaleIntensityRanged("image", a_min=-1000, a_max=400, b_min=0, b_max=1, clip=True),
        ]
    )
    return {"medseg": lambda: ours({"image": path}), "MONAI": lambda: monai({"image": path})}


def resampling(path: Path, spacing_mm: float) -> Ways:
    """Linear interpolation from the stored integers to float32 on the same grid."""
    import SimpleITK
    from monai.transforms import Compose, Orientationd, Spacingd

    loaded = LoadCased()({"image": path})
    ours = ResampleToSpacingd("image", spacing_mm=[spacing_mm] * 3)
    monai = Compose(
        [
            Orientationd("image", axcodes="RAS", labels=None),
            Spacingd("image", pixdim=[spacing_mm] * 3, mode="bilinear"),
        ]
    )
    volume = SimpleITK.ReadImage(str(path))
    size = [int(n) for n in ours(loaded)["image"].shape[1:]]

    def itk() -> Array:
        resampled = SimpleITK.Resample(
            *(volume, size, SimpleITK.Transform(), SimpleITK.sitkLinear, volume.GetOrigin()),
            *([spacing_mm] * 3, volume.GetDirection(), 0.0, SimpleITK.sitkFloat32),
        )
        return np.ascontiguousarray(SimpleITK.GetArrayFromImage(resampled).T)

    return {
        "medseg (torch, an axis at a time)": lambda: ours(loaded),
        "SimpleITK": itk,
        "MONAI Orientation + Spacing": lambda: monai(loaded),
    }


def cleaning(labels: Array, image: Image) -> Ways:
    """The largest component by corners of both labels of the whole map."""
    from scipy import ndimage

    keep = KeepLargestComponents(labels=[1, 2], connectivity=26)

    def scipy() -> Array:
        cleaned = labels.copy()
        for value in (1, 2):
            regions, _ = ndimage.label(labels == value, np.ones((3, 3, 3)))
            sizes = np.bincount(regions.ravel())
            cleaned[(regions > 0) & (regions != 1 + sizes[1:].argmax())] = 0
        return cleaned

    return {"medseg": lambda: keep(labels, image.affine), "scipy": scipy}


def filling(labels: Array, image: Image) -> Ways:
    """The holes of both labels."""
    from scipy import ndimage

    fill = FillHoles(labels=[1, 2], connectivity=6)

    def scipy() -> Array:
        filled = labels.copy()
        for value in (1, 2):
            filled[ndimage.binary_fill_holes(filled == value) & (filled == 0)] = value
        return filled

    return {"medseg": lambda: fill(labels, image.affine), "scipy": scipy}


def writing(labels: Array, image: Image, path: Path) -> Ways:
    """A label map as .nii.gz on disk."""
    import nibabel
    import SimpleITK
    from isal import igzip_threaded

    mask = Image(labels, image.affine, path)
    content = labels.tobytes(order="F")
    itk = SimpleITK.GetImageFromArray(np.ascontiguousarray(labels.T))

    def threaded(threads: int) -> None:
        with (
            path.open("wb") as file,
            igzip_threaded.open(file, "wb", compresslevel=1, threads=threads) as stream,
        ):
            stream.write(content)

    return {
        "medseg (ISA-L, one thread)": lambda: write_mask(mask, path),
        "ISA-L, two threads, voxels alone": lambda: threaded(2),
        "zlib level 1, voxels alone": lambda: path.write_bytes(gzip.compress(content, 1)),
        "SimpleITK": lambda: SimpleITK.WriteImage(itk, str(path), True),
        "nibabel": lambda: nibabel.save(nibabel.Nifti1Image(labels, image.affine), path),
    }


def _labels(values: Array) -> Any:
    from scipy import ndimage

    tissue = (values > -200).astype(np.uint8, order="K") + (values > 150)
    return np.asfortranarray(ndimage.median_filter(tissue.T, size=3).T)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ct", type=Path)
    parser.add_argument("--spacing-mm", type=float, default=1.5)
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        main(given.ct, spacing_mm=given.spacing_mm, runs=given.runs)
