"""The check of image and mask inside a chain of transforms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from medseg.errors import GeometryError, LabelError, user_error
from medseg.transforms import CheckCased

NAMES = {"0": "background", "1": "left lung", "2": "right lung"}
AFFINE = np.diag([1.0, 1.0, 2.0, 1.0])


def loaded(array: Any, affine: np.ndarray = AFFINE, *, name: str = "image.nii.gz", **meta: object) -> MetaTensor:
    plain = torch.as_tensor(np.asarray(array))
    return MetaTensor(plain, affine=torch.as_tensor(affine), meta={"filename_or_obj": name, **meta})


def case(label: Any, label_affine: np.ndarray = AFFINE, **more: object) -> dict[str, Any]:
    image = np.zeros((1, 3, 4, 5), np.float32)
    return {"image": loaded(image), "label": loaded(label, label_affine, name="mask.nii.gz"), **more}


def mask(*values: float, dtype: type = np.float32) -> np.ndarray:
    array = np.zeros((1, 3, 4, 5), dtype)
    array.flat[: len(values)] = values
    return array


@pytest.mark.parametrize("labels", [NAMES, [0, 1, 2], ["0", "1", "2"], {2, 0, 1}], ids=["names", "ints", "str", "set"])
@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.int32])
def test_a_case_that_fits_passes_untouched(labels: Any, dtype: type) -> None:
    before = case(mask(1, 2, 2, dtype=dtype), id="a")
    after = CheckCased(labels=labels)(before)
    assert after.keys() == before.keys()
    assert all(after[key] is before[key] for key in before)


def test_a_case_without_mask_passes() -> None:
    before = {"image": loaded(np.zeros((1, 3, 4, 5)))}
    assert CheckCased(labels=NAMES)(before)["image"] is before["image"]


def test_rounding_of_a_stored_affine_passes() -> None:
    CheckCased(labels=NAMES)(case(mask(1), AFFINE + 1e-6))


SHIFTED = AFFINE.copy()
SHIFTED[2, 3] = 3.0


@pytest.mark.parametrize(
    ("label", "affine", "difference"),
    [
        pytest.param(np.zeros((1, 3, 4, 6)), AFFINE, r"size \(3, 4, 5\) against \(3, 4, 6\)", id="size"),
        pytest.param(
            mask(1),
            np.diag([1.0, 1.0, 2.5, 1.0]),
            r"spacing \(1, 1, 2\) mm against \(1, 1, 2.5\) mm",
            id="spacing",
        ),
        pytest.param(mask(1), SHIFTED, r"origin \(-?0, -?0, 0\) mm against \(-?0, -?0, 3\) mm", id="origin"),
        pytest.param(mask(1), np.diag([1.0, -1.0, 2.0, 1.0]), r"direction \(.*\) against \(", id="direction"),
    ],
)
def test_a_mask_on_another_grid_is_refused_with_both_values(label: Any, affine: np.ndarray, difference: str) -> None:
    match = f"case 0042: mask.nii.gz: the mask lies on another grid than image.nii.gz; got {difference}"
    with pytest.raises(GeometryError, match=match) as caught:
        CheckCased(labels=NAMES)(case(label, affine, id="0042"))
    assert "within 0.01 mm at every voxel" in str(caught.value)


@pytest.mark.parametrize(
    ("values", "got"),
    [
        pytest.param((1, 3), "3", id="one"),
        pytest.param((255, 1, 128), "128, 255", id="two"),
        pytest.param((0.5, 1), "0.5", id="between"),
        pytest.param((-1,), "-1", id="negative"),
        pytest.param((float("nan"),), "nan", id="nan"),
        pytest.param(range(3, 40), "3, 4, 5, 6, 7, 8, 9, 10 and 29 more", id="the first eight"),
    ],
)
def test_values_that_are_no_labels_are_refused(values: tuple[float, ...], got: str) -> None:
    with pytest.raises(LabelError, match=f"mask.nii.gz: .* no labels of the bundle; got {got}; expected only 0, 1, 2"):
        CheckCased(labels=NAMES)(case(mask(*values)))


def test_the_grid_is_checked_before_the_values() -> None:
    with pytest.raises(GeometryError):
        CheckCased(labels=NAMES)(case(mask(9), SHIFTED))


def test_pictures_without_spacing_need_only_the_size() -> None:
    image = loaded(np.zeros((1, 4, 3)), np.eye(4), spacing_known=False)
    other = loaded(np.ones((1, 4, 3)), np.diag([0.2, 0.2, 1, 1]), name="mask.png")
    CheckCased(labels=[0, 1])({"image": image, "label": other})
    with pytest.raises(GeometryError, match="size"):
        CheckCased(labels=[0, 1])({"image": image, "label": loaded(np.ones((1, 3, 4)), np.eye(4))})


def test_other_keys_can_be_named() -> None:
    data = {"scan": loaded(mask()), "truth": loaded(mask(5))}
    with pytest.raises(LabelError, match="got 5"):
        CheckCased(labels=NAMES, image_key="scan", label_key="truth")(data)


@pytest.mark.filterwarnings("ignore:NvImgCodecPydicomReader:UserWarning")
def test_what_medsegs_readers_load_passes_and_a_foreign_mask_does_not(tmp_path: Path) -> None:
    import nibabel as nib
    from monai.transforms import Compose, LoadImaged

    voxels = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    for name, array, affine in (
        ("image", voxels, AFFINE),
        ("mask", (voxels % 3).astype(np.uint8), AFFINE),
        ("other", (voxels % 3).astype(np.uint8), SHIFTED),
    ):
        nib.save(nib.Nifti1Image(array, affine), tmp_path / f"{name}.nii.gz")
    chain = Compose(
        [
            LoadImaged(keys="image", reader="medseg.intake.MedsegReader", ensure_channel_first=True),
            LoadImaged(keys="label", reader="medseg.intake.MedsegLabelReader", ensure_channel_first=True),
            CheckCased(labels=NAMES),
        ]
    )
    fitting = chain({"image": tmp_path / "image.nii.gz", "label": tmp_path / "mask.nii.gz", "id": "a"})
    assert fitting["label"].shape == (1, 3, 4, 5)
    with pytest.raises(RuntimeError) as caught:
        chain({"image": tmp_path / "image.nii.gz", "label": tmp_path / "other.nii.gz", "id": "b"})
    refusal = user_error(caught.value)
    assert isinstance(refusal, GeometryError)
    assert "case b: " in str(refusal)
    assert "other.nii.gz" in str(refusal)
