"""Cases as tensors: LoadCased beside MONAI's LoadImaged with the same readers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.transforms import Compose, LoadImaged
from PIL import Image as Pillow

from medseg.errors import DataError, ImageError, LabelError
from medseg.intake import LoadCased

pytestmark = pytest.mark.filterwarnings("ignore:NvImgCodecPydicomReader:UserWarning")

AFFINE = np.array([[0, -2.0, 0, 10], [3, 0, 0, -20], [0, 0, 4, 30], [0, 0, 0, 1]])


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Any]:
    voxels = np.arange(24, dtype=np.int16).reshape(2, 3, 4) - 5
    nib.save(nib.Nifti1Image(voxels, AFFINE), tmp_path / "image.nii.gz")
    nib.save(nib.Nifti1Image((voxels > 3).astype(np.float32), AFFINE), tmp_path / "mask.nii.gz")
    return {"image": tmp_path / "image.nii.gz", "label": str(tmp_path / "mask.nii.gz"), "id": "a"}


def by_monai(files: dict[str, Any]) -> dict[str, Any]:
    readers = {"image": "medseg.intake.MedsegReader", "label": "medseg.intake.MedsegLabelReader"}
    return Compose([LoadImaged(key, reader=readers[key], ensure_channel_first=True) for key in ("image", "label")])(
        files
    )


def test_values_place_and_meta_data_are_those_of_loadimaged(files: dict[str, Any]) -> None:
    expected, got = by_monai(files), LoadCased()(files)
    assert got["id"] == "a"
    for key in ("image", "label"):
        np.testing.assert_array_equal(got[key], expected[key])
        assert got[key].affine.dtype == torch.float64
        np.testing.assert_array_equal(got[key].affine, expected[key].affine)
        assert got[key].meta["filename_or_obj"] == expected[key].meta["filename_or_obj"] == str(files[key])
        missing = {"filename_or_obj", "modality", "spacing_known", "space", "original_affine"} - set(got[key].meta)
        assert not missing
    assert isinstance(files["image"], Path)


def test_types_and_memory_stay_as_stored(files: dict[str, Any]) -> None:
    got = LoadCased()(files)
    assert (got["image"].dtype, got["label"].dtype) == (torch.int16, torch.uint8)
    assert got["image"].stride()[1:] == (1, 2, 6)  # X runs fastest in a NIfTI file


def test_a_case_may_have_no_mask_but_needs_an_image(files: dict[str, Any]) -> None:
    assert set(LoadCased()({"image": files["image"]})) == {"image"}
    with pytest.raises(KeyError, match="image"):
        LoadCased()({"label": files["label"]})


def test_other_keys_can_be_named(files: dict[str, Any]) -> None:
    renamed = {"scan": files["image"], "truth": files["label"]}
    got = LoadCased(image_key="scan", label_key="truth")(renamed)
    assert got["scan"].shape == got["truth"].shape == (1, 2, 3, 4)


def test_values_that_pytorch_cannot_work_with_become_wider(tmp_path: Path) -> None:
    voxels = np.array([0, 300, 65535], np.uint16).reshape(3, 1, 1)
    nib.save(nib.Nifti1Image(voxels, AFFINE), tmp_path / "a.nii")
    got = LoadCased()({"image": tmp_path / "a.nii", "label": tmp_path / "a.nii"})
    for key in ("image", "label"):
        assert got[key].dtype == torch.int32
        assert got[key].ravel().tolist() == [0, 300, 65535]


def test_pictures_keep_their_eight_bits(tmp_path: Path) -> None:
    Pillow.fromarray(np.arange(6, dtype=np.uint8).reshape(2, 3)).save(tmp_path / "a.png")
    got = LoadCased()({"image": tmp_path / "a.png"})["image"]
    assert (got.dtype, tuple(got.shape)) == (torch.uint8, (1, 3, 2))
    assert got[0, :, 0].tolist() == [0, 1, 2]
    assert got.meta["spacing_known"] is False


def test_what_the_readers_refuse_is_refused(files: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no such file"):
        LoadCased()({"image": tmp_path / "absent.nii.gz"})
    with pytest.raises(LabelError, match="cannot be labels"):
        LoadCased()({**files, "label": files["image"]})
    with pytest.raises(DataError, match="several files"):
        LoadCased()({"image": [files["image"], files["label"]]})
