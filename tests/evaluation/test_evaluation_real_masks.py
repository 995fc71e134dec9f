"""Surface scores of real masks, small and large, thin and thick slices, equal to those of surface-distance."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medseg.evaluation import LesionRule, ScorePlan, image_diagonal, score_case, surface_distances
from medseg.geometry import spacing_mm
from medseg.intake import read_label

pytestmark = pytest.mark.real_data


@pytest.mark.filterwarnings("ignore:Please import:DeprecationWarning")
@pytest.mark.parametrize(("folder", "value"), [("sarcoma_ct_mr/CT/labels", 1), ("hippocampus/labelsTr", 2)])
def test_a_mask_against_itself_eroded_and_moved(real_data: Path, folder: str, value: int) -> None:
    import surface_distance as peer
    from scipy import ndimage

    for file in sorted((real_data / folder).glob("*.nii.gz"))[:2]:
        label = read_label(file)
        truth, spacing = label.array == value, spacing_mm(label.affine)
        prediction = np.roll(ndimage.binary_erosion(truth), 1, axis=2)
        ours = surface_distances(prediction, truth, spacing=spacing, diagonal=image_diagonal(truth.shape, spacing))
        theirs = peer.compute_surface_distances(truth, prediction, spacing)
        assert ours.hausdorff() == pytest.approx(peer.compute_robust_hausdorff(theirs, 100))
        assert ours.hausdorff(95.0) == pytest.approx(peer.compute_robust_hausdorff(theirs, 95))
        assert ours.nsd(2.2) == pytest.approx(peer.compute_surface_dice_at_tolerance(theirs, 2.2))


def test_a_tumour_against_itself_is_perfect_in_every_score(real_data: Path) -> None:
    label = read_label(next((real_data / "sarcoma_ct_mr/CT/labels").glob("*.nii.gz")))
    plan = ScorePlan(tolerances_mm=[1.0], lesions={"tumour": LesionRule(iou_above=0.5)})
    (row,) = score_case("case", label, label, {"tumour": [1]}, spatial_dims=3, plan=plan)
    perfect = {"dice", "iou", "precision", "recall", "specificity", "nsd_1mm", "lesion_f1", "panoptic_quality"}
    none = {"hd_mm", "hd95_mm", "assd_mm", "volume_error_ml", "volume_error_relative"}
    assert {row.scores[name] for name in perfect} == {1.0}
    assert {row.scores[name] for name in none} == {0.0}
    assert 17 < row.scores["truth_ml"] < 2333  # as the data's authors state
