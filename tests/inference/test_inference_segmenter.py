"""One case from its file to labels on its own grid, with networks of one convolution."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import LoadImaged, NormalizeIntensityd, Orientationd, Resized, ScaleIntensityRanged, Spacingd
from PIL import Image as Pillow

from medseg.inference import Segmenter, SlidingWindow
from medseg.postprocess import KeepLargestComponents
from medseg.transforms import ResampleToSpacingd, WindowIntensityd

pytestmark = pytest.mark.filterwarnings("ignore:NvImgCodecPydicomReader:UserWarning")

AFFINE = np.array([[-1.0, 0, 0, 90], [0, 0, 2, -50], [0, 1.5, 0, 30], [0, 0, 0, 1]])
LPS_LIKE_SHAPE = (9, 7, 5)


def reading() -> list[Callable[..., Any]]:
    return [LoadImaged(keys="image", reader="medseg.intake.MedsegReader", ensure_channel_first=True)]


def threshold(at: float, dims: int) -> torch.nn.Module:
    """Logits (0, value - at) of a single channel."""
    net: Any = (torch.nn.Conv3d if dims == 3 else torch.nn.Conv2d)(1, 2, 1)
    with torch.no_grad():
        net.weight.zero_()
        net.weight[1], net.bias[0], net.bias[1] = 1.0, 0.0, -at
    return net


def segmenter(dims: int = 3, at: float = 250.25, **others: Any) -> Segmenter:
    given: dict[str, Any] = {
        "network": threshold(at, dims),
        "loading": reading(),
        "preprocessing": [
            Orientationd(keys="image", axcodes="RAS", labels=None),
            Spacingd(keys="image", pixdim=[1] * 3),
        ],
        "inferer": SlidingWindow(roi_size=[8] * dims, precision="fp32"),
        **others,
    }
    return Segmenter(**given)


@pytest.fixture
def volume(tmp_path: Path) -> tuple[Path, np.ndarray]:
    """A ramp along all axes: 10 to 500."""
    x, y, z = np.indices(LPS_LIKE_SHAPE)
    voxels = (10 + 20 * x + 25 * y + 45 * z).astype(np.int16)
    nib.save(nib.Nifti1Image(voxels, AFFINE), tmp_path / "a.nii.gz")
    return tmp_path / "a.nii.gz", voxels


def test_a_volume_gets_labels_on_its_own_grid(volume: tuple[Path, np.ndarray]) -> None:
    path, voxels = volume
    result = segmenter()({"image": str(path), "id": "a"})
    np.testing.assert_array_equal(result.labels.array, voxels > 250.25)
    assert result.labels.array.dtype == np.uint8
    for image in (result.image, result.labels):
        np.testing.assert_allclose(image.affine, AFFINE)
        assert (image.source, image.modality, image.spacing_known) == (path, None, True)
    np.testing.assert_array_equal(result.image.array, voxels[None])


def test_a_case_does_not_change_the_next(volume: tuple[Path, np.ndarray]) -> None:
    path, _ = volume
    chain = segmenter()
    first, second = (chain({"image": path}).labels.array for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_a_picture_comes_back_in_its_own_size(tmp_path: Path) -> None:
    columns, rows = np.meshgrid(np.arange(24), np.arange(16))
    Pillow.fromarray((4 * columns + 8 * rows).astype(np.uint8)).save(tmp_path / "x.png")
    preprocessing = [
        Resized(keys="image", spatial_size=[8, 8], mode="area"),
        ScaleIntensityRanged(keys="image", a_min=0, a_max=200, b_min=0, b_max=1),
    ]
    result = segmenter(2, 101 / 200, preprocessing=preprocessing)({"image": tmp_path / "x.png"})
    assert result.image.array.shape == (1, 24, 16)
    inner = (slice(2, -2), slice(2, -2))
    np.testing.assert_array_equal(result.labels.array[inner], (4 * columns + 8 * rows > 101).T[inner])
    assert not result.image.spacing_known
    assert not result.labels.spacing_known


def test_modality_and_known_spacing_are_carried_over() -> None:
    def loading(data: Mapping[str, Any]) -> dict[str, Any]:
        meta = {"modality": "CT", "spacing_known": False}
        return {**data, "image": MetaTensor(torch.arange(8.0).reshape(1, 2, 2, 2), affine=torch.eye(4), meta=meta)}

    result = segmenter(at=3.5, loading=[loading], preprocessing=[])({"image": "series/"})
    for image in (result.image, result.labels):
        assert (image.source, image.modality, image.spacing_known) == (Path("series"), "CT", False)
    assert result.labels.array.ravel().tolist() == [0] * 4 + [1] * 4


def test_postprocessing_runs_in_order_on_the_native_grid(volume: tuple[Path, np.ndarray]) -> None:
    seen: list[tuple[tuple[int, ...], float]] = []

    def first(labels: np.ndarray, affine: np.ndarray) -> np.ndarray:
        seen.append((labels.shape, float(affine[2, 1])))
        isolated = labels.copy()
        isolated[0, 0, 0] = 1
        return isolated

    result = segmenter(postprocessing=[first, KeepLargestComponents(labels=[1], connectivity=26)])({"image": volume[0]})
    np.testing.assert_array_equal(result.labels.array, volume[1] > 250.25)
    assert seen == [(LPS_LIKE_SHAPE, 1.5)]


@pytest.mark.parametrize("dtype", [np.int16, np.float32], ids=["int16", "float32"])
@pytest.mark.parametrize("spacing_mm", [1, 2], ids=["as-stored", "resampled"])
def test_our_own_preprocessing_leaves_the_image_as_it_was_stored(tmp_path: Path, dtype: type, spacing_mm: int) -> None:
    """Its memory is that of the input: nothing may write to it, also where the grid stays and no value is copied."""
    voxels = np.arange(-30, 34, dtype=dtype).reshape(4, 4, 4)
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), tmp_path / "a.nii.gz")
    preprocessing = [
        ResampleToSpacingd("image", spacing_mm=[spacing_mm] * 3),
        WindowIntensityd("image", window=[-10, 10]),
    ]
    case = segmenter(preprocessing=preprocessing).read({"image": tmp_path / "a.nii.gz"})
    assert (float(case.inputs.min()), float(case.inputs.max())) == (0, 1)
    np.testing.assert_array_equal(case.native.array, voxels[None])


def test_preprocessing_that_writes_in_place_leaves_the_image_as_it_was_stored(
    volume: tuple[Path, np.ndarray],
) -> None:
    preprocessing = [NormalizeIntensityd(keys="image", channel_wise=True)]
    result = segmenter(at=0.0, preprocessing=preprocessing)({"image": volume[0]})
    np.testing.assert_array_equal(result.image.array, volume[1][None])
    np.testing.assert_array_equal(result.labels.array, volume[1] > volume[1].mean())


def test_the_network_is_in_evaluation_mode_and_can_still_be_trained(volume: tuple[Path, np.ndarray]) -> None:
    net = torch.nn.Sequential(torch.nn.Conv3d(1, 4, 3, padding=1), torch.nn.Dropout(0.9), torch.nn.Conv3d(4, 2, 1))
    net.train()
    chain = segmenter(network=net)
    first, second = (chain.logits(chain.read({"image": volume[0]}).inputs[None]) for _ in range(2))
    torch.testing.assert_close(first, second)
    assert not net.training
    net(torch.ones(1, 1, 4, 4, 4)).sum().backward()
    assert all(not p.is_inference() and p.grad is not None for p in net.parameters())
