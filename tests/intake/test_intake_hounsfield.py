"""CT values that are no Hounsfield units are told with numbers, once."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medseg.intake import read_image
from medseg.intake.hounsfield import hu_finding


def scan(*, air: int, fat: int, muscle: int, bone: int, noise: float = 10.0) -> np.ndarray:
    """40 % air, 20 % fat, 37 % muscle, 3 % bone."""
    values = np.repeat([air, fat, muscle, bone], [4000, 2000, 3700, 300]).astype(float)
    return values + np.random.default_rng(0).normal(0, noise, values.size)


TRUE = scan(air=-1000, fat=-100, muscle=50, bone=700)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (TRUE, None),
        (np.clip(TRUE, -1024, 3071), None),
        (TRUE[4000:], None),
        (np.append(TRUE, np.full(3000, -2048)), None),
        (TRUE + 1024, "nothing is below 0|denser than bone"),
        (np.append(TRUE + 1024, np.full(3000, -1024)), "denser than bone"),
        (TRUE - 1024, "no soft tissue"),
        (TRUE * 2, "most of what is dark lies near -2025|most of what is dark lies near -1975"),
        (TRUE / 1000, "range is too narrow"),
        (np.clip((TRUE + 160) / 400 * 255, 0, 255), "nothing is below 0"),
    ],
    ids=[
        "true",
        "clipped",
        "a crop without air",
        "padded",
        "intercept missing",
        "intercept missing, padded",
        "intercept twice",
        "slope twice",
        "normalised",
        "a screen's grey",
    ],
)
def test_air_and_soft_tissue_where_they_belong(values: np.ndarray, told: str | None) -> None:
    finding = hu_finding(values.reshape(1, -1, 1, 1))
    assert (finding is None) == (told is None)
    if finding is not None and told is not None:
        assert any(part in finding.what for part in told.split("|"))
        assert f"values from {values.min():.6g} to {values.max():.6g}" in str(finding.got)


def test_the_warning_has_numbers_and_comes_once_for_each_case(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.nii.gz"
    nib.save(nib.Nifti1Image((TRUE + 1024).astype(np.int16).reshape(100, 10, 10), np.eye(4)), path)
    with caplog.at_level(logging.WARNING):
        read_image(path)
        assert caplog.text == ""
        read_image(path, modality="CT")
        read_image(path, modality="CT")
    assert caplog.text.count("hardly Hounsfield units") == 1
    assert "between -200 and 200" in caplog.text


@pytest.mark.real_data
def test_real_scans_are_plausible_and_their_mistakes_are_not(real_data: Path) -> None:
    paths = sorted((real_data / "sarcoma_ct_mr" / "CT" / "images").iterdir())[::4]
    paths += [real_data / "chest_ct_nlst" / "dicom_jpegls_16", real_data / "sarcoma_dicom_rtstruct" / "STS_003" / "CT"]
    for path in paths:
        values = read_image(path).array.astype(np.int32)
        mistakes: list[Callable[[np.ndarray], np.ndarray]] = [
            lambda v: v + 1024,
            lambda v: v - 1024,
            lambda v: v * 2,
            lambda v: v / 1000,
        ]
        assert hu_finding(values) is None
        assert [hu_finding(mistake(values)) is None for mistake in mistakes] == [False] * 4
