"""The overlay gpu_augmentation: the same random transforms, those behind the crop by batches in the step."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from training_parts import BUNDLES, assert_same_run, checkpoint, difference, tiny

from medseg.bundle import find_bundle
from medseg.workflows import train

pytestmark = pytest.mark.usefixtures("no_pictures")


@pytest.mark.parametrize("bundle", ["ct_lung", "ct_sarcoma", "cxr_heart_lung", "mr_hippocampus"])
def test_no_transform_is_left_out_or_done_twice_and_none_behind_the_split_changes_the_size(bundle: str) -> None:
    configs = find_bundle(bundle) / "configs"
    names = ("train.yaml", "gpu_augmentation.yaml")
    recipe, overlay = (yaml.safe_load((configs / name).read_text("utf-8")) for name in names)
    targets = [one["_target_"] for one in recipe["train"]["augmentation"]]
    first = overlay["train::dataset::augmentation"]
    rest = overlay["train::trainer::iteration_update::augmentation"]["transforms"]
    place = 0 if first == [] else int(first.removeprefix("$@train::augmentation[:").removesuffix("]"))
    assert rest == ("@train::augmentation" if place == 0 else f"$@train::augmentation[{place}:]")
    assert not any("Crop" in name for name in targets[place:])
    assert place == 0 or "Crop" in targets[place - 1]


@pytest.mark.parametrize("bundle", BUNDLES)
def test_it_trains_the_same_for_any_number_of_workers_and_otherwise_than_case_by_case(
    bundle: str, datalists: dict[str, Path], whole_runs: dict[str, Path], tmp_path: Path
) -> None:
    def trained(workers: int) -> Path:
        changes = {**tiny(bundle), "workers": workers}
        folder = tmp_path / str(workers)
        return train(
            bundle, datalist=datalists[bundle], run_dir=folder, overrides=changes, overlays=["gpu_augmentation"]
        )

    one, two = trained(0), trained(1)
    assert_same_run(one, two)
    assert difference(checkpoint(one)["network"], checkpoint(whole_runs[bundle])["network"]) != []
