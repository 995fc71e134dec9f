"""Intensities of a window, beside MONAI's ScaleIntensityRanged and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import ScaleIntensityRanged

from medseg.errors import BundleError
from medseg.transforms import WindowIntensityd


def test_the_windows_ends_are_0_and_1_and_what_lies_beyond_is_clipped() -> None:
    values = torch.tensor([[[-2000, -1000, -300, 400, 3000]]], dtype=torch.int16)
    result = WindowIntensityd("image", window=[-1000, 400])({"image": values, "id": "a"})
    assert result["image"].dtype == torch.float32
    assert result["image"].ravel().tolist() == [0, 0, 0.5, 1, 1]
    assert result["id"] == "a"
    assert values.ravel().tolist() == [-2000, -1000, -300, 400, 3000]


@pytest.mark.parametrize("dtype", [torch.int16, torch.float32], ids=str)
def test_it_does_what_monai_does(dtype: torch.dtype) -> None:
    values = torch.randint(0, 250, (1, 4, 5, 6), generator=torch.Generator().manual_seed(0)).to(dtype)
    image = MetaTensor(values, affine=torch.diag(torch.tensor([2.0, 3, 4, 1])), meta={"modality": "CT"})
    expected = ScaleIntensityRanged("image", a_min=40, a_max=200, b_min=0, b_max=1, clip=True)({"image": image})
    result = WindowIntensityd("image", window=(40, 200))({"image": image})["image"]
    np.testing.assert_allclose(result, expected["image"], atol=1e-6)
    assert result.meta["modality"] == "CT"
    np.testing.assert_array_equal(result.affine, image.affine)
    torch.testing.assert_close(image.as_tensor(), values)


@pytest.mark.parametrize("window", [(1, 1), (2, 1), (float("nan"), 1)], ids=str)
def test_a_window_without_an_inside_is_refused(window: tuple[float, float]) -> None:
    with pytest.raises(BundleError, match="WindowIntensityd: window"):
        WindowIntensityd("image", window=window)
