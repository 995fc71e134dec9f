"""The door inside MONAI's LoadImaged: the same arrays, and no way round a refusal."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from pydoc import locate

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor, list_data_collate
from monai.transforms import LoadImaged, Orientationd
from PIL import Image as Pillow

from medseg.errors import ImageError, LabelError, user_error
from medseg.intake import read_image

pytestmark = pytest.mark.filterwarnings("ignore:NvImgCodecPydicomReader:UserWarning")

VALUES = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
AFFINE = np.array([[-2.0, 0, 0, 10], [0, 3, 0, -20], [0, 0, 4, 30], [0, 0, 0, 1]])


def load(path: Path, reader: str = "medseg.intake.MedsegReader") -> MetaTensor:
    return LoadImaged(keys="image", reader=reader, ensure_channel_first=True)({"image": path})["image"]


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    nib.save(nib.Nifti1Image(VALUES, AFFINE), tmp_path / "a.nii.gz")
    return tmp_path / "a.nii.gz"


def test_the_readers_are_found_by_their_dotted_path() -> None:
    for name in ("MedsegReader", "MedsegLabelReader"):
        found = locate(f"medseg.intake.{name}")
        assert isinstance(found, type)
        assert found.__name__ == name
        pickle.dumps(found())


def test_a_volume_comes_as_read_image_gives_it(volume: Path) -> None:
    tensor = load(volume)
    np.testing.assert_array_equal(tensor.numpy(), read_image(volume).array)
    np.testing.assert_allclose(tensor.affine.numpy(), AFFINE)
    assert tensor.meta["filename_or_obj"] == str(volume)
    assert tensor.meta["space"] == "RAS"
    assert tensor.meta["original_channel_dim"] == 0
    np.testing.assert_array_equal(tensor.meta["spatial_shape"], [2, 3, 4])


def test_a_picture_comes_as_columns_and_rows(tmp_path: Path) -> None:
    Pillow.fromarray(np.arange(6, dtype=np.uint8).reshape(2, 3)).save(tmp_path / "a.png")
    tensor = load(tmp_path / "a.png")
    assert tensor.shape == (1, 3, 2)
    np.testing.assert_array_equal(tensor.numpy(), read_image(tmp_path / "a.png").array)


def test_a_series_folder_loads(tmp_path: Path, make_series: Callable[..., Path]) -> None:
    folder = make_series(tmp_path / "ct", [0, 2, 4])
    tensor = load(folder)
    np.testing.assert_array_equal(tensor.numpy(), read_image(folder).array)
    assert tensor.meta["modality"] == "CT"


def test_meta_collates_and_monai_orients_it(volume: Path) -> None:
    item = {"image": load(volume)}
    batch = list_data_collate([item, {"image": load(volume)}])["image"]
    assert batch.shape == (2, 1, 2, 3, 4)
    turned = Orientationd(keys="image", axcodes="RAS", labels=None)(item)["image"]
    np.testing.assert_array_equal(turned.numpy()[0], VALUES[::-1])


def test_masks_are_integers_with_a_channel(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image((VALUES % 3).astype(np.float64), AFFINE), tmp_path / "m.nii.gz")
    tensor = load(tmp_path / "m.nii.gz", "medseg.intake.MedsegLabelReader")
    assert tensor.shape == (1, 2, 3, 4)
    assert torch.equal(tensor.as_tensor().to(torch.int64)[0], torch.from_numpy((VALUES % 3).astype(np.int64)))


@pytest.mark.parametrize(
    ("values", "reader", "kind"),
    [
        (np.full((2, 2, 2), 3.0), "MedsegReader", ImageError),
        (np.array([[[0.0, np.nan]]]), "MedsegReader", ImageError),
        (np.array([[[0.0, 0.5]]]), "MedsegLabelReader", LabelError),
    ],
    ids=["constant", "nan", "mask of fractions"],
)
def test_what_we_refuse_never_comes_in_through_monais_own_readers(
    tmp_path: Path, values: np.ndarray, reader: str, kind: type[Exception]
) -> None:
    """MONAI's NibabelReader reads each of these files: LoadImaged would fall back to it in silence."""
    path = tmp_path / "a.nii.gz"
    nib.save(nib.Nifti1Image(values, np.eye(4)), path)
    assert load(path, "NibabelReader").shape[1:] == values.shape
    with pytest.raises(Exception, match=r"a\.nii\.gz|load") as refused:
        load(path, f"medseg.intake.{reader}")
    assert isinstance(user_error(refused.value), kind)


def test_several_files_for_one_image_are_refused(volume: Path) -> None:
    loader = LoadImaged(keys="image", reader="medseg.intake.MedsegReader", ensure_channel_first=True)
    with pytest.raises(Exception, match=r"several files|load") as refused:
        loader({"image": [str(volume), str(volume)]})
    assert "several files" in str(user_error(refused.value))
