"""The same grid and values as MONAI's Orientationd + Spacingd, and values derived by hand."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from monai.transforms import Compose, Orientationd, Spacingd
from scipy.spatial.transform import Rotation

from medseg.errors import BundleError, GeometryError
from medseg.transforms import ResampleToSpacingd, resample
from medseg.transforms.resample import target_grid

CODES = ["".join(c) for axes in itertools.permutations(("RL", "AP", "SI")) for c in itertools.product(*axes)]
BOTH = ["image", "label"]


def volume(array: np.ndarray, affine: np.ndarray, **meta: object) -> MetaTensor:
    return MetaTensor(torch.from_numpy(array)[None], affine=torch.as_tensor(affine), meta=dict(meta))


def case(shape: Sequence[int], affine: np.ndarray, *, order: str = "C", seed: int = 0) -> dict[str, Any]:
    values = np.random.default_rng(seed).integers(-1000, 2000, tuple(shape)).astype(np.int16)
    stored = np.array(values, order=order)  # type: ignore[call-overload]
    return {"image": volume(stored, affine), "label": volume((stored > 0).astype(np.uint8, order="K"), affine)}


def by_monai(data: dict[str, Any], spacing: Sequence[float]) -> dict[str, Any]:
    turned = Orientationd(keys=BOTH, axcodes="RAS", labels=None)
    return Compose([turned, Spacingd(keys=BOTH, pixdim=spacing, mode=["bilinear", "nearest"])])(data)


def by_medseg(data: dict[str, Any], spacing: Sequence[float]) -> dict[str, Any]:
    return ResampleToSpacingd(keys=BOTH, spacing_mm=spacing, mode=["bilinear", "nearest"])(data)


def between_voxels(affine: np.ndarray, shape: Sequence[int], spacing: Sequence[float]) -> np.ndarray:
    """True where a sample lies so close to the middle of two voxels that rounding decides which is the nearest."""
    grid = target_grid(affine, shape, spacing_mm=spacing, orientation="RAS")
    index = np.indices(grid.shape).reshape(3, -1)
    position = grid.step[:3, :3] @ index + grid.step[:3, 3:]
    middle = np.abs(np.abs(position - np.floor(position)) - 0.5) < 1e-4
    return middle.any(axis=0).reshape(grid.shape)


def assert_equal(data: dict[str, Any], spacing: Sequence[float]) -> None:
    expected, got = by_monai(data, spacing), by_medseg(data, spacing)
    for key in BOTH:
        assert got[key].shape == expected[key].shape
        np.testing.assert_allclose(got[key].affine, expected[key].affine, atol=1e-6)
    np.testing.assert_allclose(got["image"], expected["image"], atol=0.03)  # 1e-5 of the range of 3000
    tied = between_voxels(np.asarray(data["label"].affine), data["label"].shape[1:], spacing)
    np.testing.assert_array_equal(got["label"][0][~tied], expected["label"][0][~tied])


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("code", CODES)
def test_every_orientation_gives_monais_grid_and_values(code: str, order: str) -> None:
    import nibabel.orientations as orientations

    shape, ras = (7, 5, 6), np.diag([0.7, 1.3, 2.5, 1.0])
    change = orientations.ornt_transform(
        orientations.axcodes2ornt(tuple(code)), orientations.axcodes2ornt(("R", "A", "S"))
    )
    affine = ras @ orientations.inv_ornt_aff(change, shape)
    assert_equal(case(shape, affine, order=order), (1.1, 0.9, 3.0))


@given(
    shape=st.tuples(*[st.integers(1, 12)] * 3),
    spacing=st.tuples(*[st.floats(0.4, 6.0)] * 3),
    wanted=st.tuples(*[st.floats(0.5, 3.0)] * 3),
    angles=st.tuples(*[st.floats(-180, 180)] * 3),
    rounded=st.booleans(),
    shear=st.sampled_from([0.0, 0.0, 0.3]),
    order=st.sampled_from("CF"),
)
@settings(max_examples=80, deadline=None)
def test_any_grid_gives_monais_grid_and_values(
    shape: Sequence[int],
    spacing: Sequence[float],
    wanted: Sequence[float],
    angles: Sequence[float],
    rounded: bool,
    shear: float,
    order: str,
) -> None:
    """Thick slices, one-voxel axes, oblique scans, affines rounded as NIfTI stores them, gantry tilt."""
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() * np.asarray(spacing)
    affine[:3, 2] += shear * affine[:3, 1]
    affine[:3, 3] = (-100, -90, 30)
    assert_equal(case(shape, affine.astype(np.float32).astype(float) if rounded else affine, order=order), wanted)


def test_halving_the_spacing_puts_means_between_the_voxels() -> None:
    ramp = np.array([0, 10, 40], np.int16).reshape(3, 1, 1)
    data = {"image": volume(ramp, np.diag([2.0, 1, 1, 1]))}
    result = ResampleToSpacingd(keys="image", spacing_mm=(1, 1, 1))(data)["image"]
    assert result.dtype == torch.float32
    assert result.ravel().tolist() == [0, 5, 10, 25, 40]


def test_a_flipped_axis_is_read_backwards() -> None:
    ramp = np.array([0, 10, 40], np.int16).reshape(3, 1, 1)
    affine = np.diag([-2.0, 1, 1, 1])
    result = ResampleToSpacingd(keys="image", spacing_mm=(1, 1, 1))({"image": volume(ramp, affine)})["image"]
    assert result.ravel().tolist() == [40, 25, 10, 5, 0]
    assert result.affine[0].tolist() == [1, 0, 0, -4]


def test_many_slices_are_made_in_bands() -> None:
    """More samples along the slowest axis than one matrix product makes, beside numpy's interpolation."""
    values = np.random.default_rng(1).normal(size=(2, 3, 90)).astype(np.float32)
    for array in (values, np.asfortranarray(values)):
        data = {"image": volume(array, np.diag([1, 1, 0.9, 1]))}
        result = ResampleToSpacingd(keys="image", spacing_mm=(1, 1, 0.7))(data)["image"]
        position = np.arange(result.shape[3]) * 0.7 / 0.9
        for line, got in zip(values.reshape(-1, 90), result[0].reshape(6, -1), strict=True):
            np.testing.assert_allclose(got, np.interp(position, np.arange(90), line), atol=1e-5)


def test_channels_are_resampled_alike() -> None:
    values = torch.arange(24.0).reshape(2, 3, 2, 2)
    data = MetaTensor(values, affine=torch.eye(4))
    whole = ResampleToSpacingd(keys="image", spacing_mm=(0.5, 1, 1))({"image": data})["image"]
    for channel in range(2):
        one = MetaTensor(values[channel : channel + 1], affine=torch.eye(4))
        alone = ResampleToSpacingd(keys="image", spacing_mm=(0.5, 1, 1))({"image": one})["image"]
        torch.testing.assert_close(whole[channel : channel + 1].as_tensor(), alone.as_tensor())


@pytest.mark.parametrize("off", [0.0, 9e-4], ids=["same", "nearly the same"])
def test_a_grid_that_would_hardly_change_is_kept(off: float) -> None:
    affine = np.diag([1 + off, 1, 1, 1])
    data = case((3, 4, 5), affine)
    result = by_medseg(data, (1, 1, 1))
    np.testing.assert_array_equal(result["image"], data["image"].as_tensor().float())
    np.testing.assert_array_equal(result["label"], data["label"].as_tensor())
    np.testing.assert_array_equal(result["image"].affine, affine)


def test_types_meta_data_and_input_are_kept() -> None:
    data = case((4, 5, 6), np.diag([1, -1, 2.0, 1]))
    data["image"].meta["modality"] = "CT"
    before = {key: data[key].as_tensor().clone() for key in BOTH}
    result = by_medseg({**data, "id": "a"}, (1.5, 1.5, 1.5))
    assert (result["image"].dtype, result["label"].dtype, result["id"]) == (torch.float32, torch.uint8, "a")
    assert result["image"].meta["modality"] == "CT"
    assert result["image"].is_contiguous()
    for key in BOTH:
        torch.testing.assert_close(data[key].as_tensor(), before[key])
        np.testing.assert_array_equal(np.diag(data[key].affine), [1, -1, 2, 1])


def test_a_mask_whose_affine_was_rounded_otherwise_stays_on_its_images_grid() -> None:
    """9 voxels of 0.5 mm are 4 mm: 3.5 samples of 1.6 mm between the ends, where rounding decides between two sizes."""
    shape, wanted = (9, 2, 2), (1.6, 1.0, 1.0)
    image = volume(np.arange(36, dtype=np.int16).reshape(shape), np.diag([0.5, 1, 1, 1]))
    sizes = set()
    for off in (-1e-5, 1e-5):
        label = volume(np.ones(shape, np.uint8), np.diag([0.5 + off, 1, 1, 1]))
        alone = ResampleToSpacingd(keys="label", spacing_mm=wanted, mode="nearest")({"label": label})["label"]
        sizes.add(alone.shape[1])
        result = by_medseg({"image": image, "label": label}, wanted)
        assert result["label"].shape == result["image"].shape
        np.testing.assert_array_equal(result["label"].affine, result["image"].affine)
    assert len(sizes) == 2


def test_a_missing_mask_is_allowed_where_it_is_said() -> None:
    data = {"image": case((3, 3, 3), np.eye(4))["image"]}
    chain = ResampleToSpacingd(keys=BOTH, spacing_mm=(2, 2, 2), mode=["bilinear", "nearest"], allow_missing_keys=True)
    assert set(chain(data)) == {"image"}
    with pytest.raises(KeyError, match="label"):
        by_medseg(data, (2, 2, 2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"spacing_mm": (1, 1)}, "three lengths above 0"),
        ({"spacing_mm": (1, 1, 0)}, "three lengths above 0"),
        ({"spacing_mm": (1, 1, 1), "mode": "cubic"}, "expected bilinear or nearest"),
    ],
    ids=["two", "zero", "mode"],
)
def test_settings_without_a_meaning_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(BundleError, match=message):
        ResampleToSpacingd(keys="image", **options)


def test_a_picture_is_no_volume() -> None:
    with pytest.raises(GeometryError, match=r"only volumes are resampled; got size \(1, 3, 4\)"):
        ResampleToSpacingd(keys="image", spacing_mm=(1, 1, 1))({"image": MetaTensor(torch.zeros(1, 3, 4))})


@pytest.mark.real_data
def test_a_whole_ct_is_resampled_as_monai_does(real_data: Any) -> None:
    from medseg.intake import read_image

    ct = read_image(real_data / "chest_ct_nlst" / "ct.nii.gz")
    data = {"image": MetaTensor(torch.from_numpy(ct.array[..., :40]), affine=torch.as_tensor(ct.affine))}
    expected = Compose(
        [
            Orientationd(keys="image", axcodes="RAS", labels=None),
            Spacingd(keys="image", pixdim=(3.0, 3.0, 3.0), mode="bilinear"),
        ]
    )(data)["image"]
    got = ResampleToSpacingd(keys="image", spacing_mm=(3.0, 3.0, 3.0))(data)["image"]
    np.testing.assert_allclose(got.affine, expected.affine, atol=1e-6)
    np.testing.assert_allclose(got.as_tensor(), expected.as_tensor(), atol=1e-3)


def test_a_volume_whose_spacing_makes_it_larger_than_the_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spacing in another unit: it must fail its case before the machine ends the run for want of memory."""
    data = case((4, 4, 4), np.diag([1000.0, 1000.0, 1000.0, 1.0]))
    monkeypatch.setattr(resample, "memory_bytes", lambda: 100_000_000_000)
    # 4 voxels of 1000 mm, centre to centre 3000 mm: 3001 at 1 mm, cubed, 4 bytes each
    with pytest.raises(GeometryError, match=r"1000x1000x1000 mm, which make 3001x3001x3001: 108\.1 GB") as refused:
        by_medseg(data, (1.0, 1.0, 1.0))
    assert "at most 100.0 GB at 1x1x1 mm" in str(refused.value)
