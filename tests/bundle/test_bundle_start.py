"""The weights that a user names by a bundle, its folder, or a file."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from medseg.bundle import find_bundle, initial_weights_file
from medseg.errors import BundleError
from medseg.networks.weights import IN_CHECKPOINT


def test_a_name_a_folder_and_a_file_lead_to_the_same_weights() -> None:
    bundle = find_bundle("ct_lung")
    for source in ("ct_lung", str(bundle), str(bundle / "models" / "model.pt")):
        assert initial_weights_file(source) == str(bundle / "models" / "model.pt")


def test_nothing_is_looked_for_without_a_source_or_when_a_run_goes_on() -> None:
    assert initial_weights_file(None) is None
    assert initial_weights_file(None, resume=True) is None
    assert initial_weights_file("long/gone.pt", resume=True) == IN_CHECKPOINT


def test_what_is_no_bundle_or_has_no_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="did you mean ct_lung"):
        initial_weights_file("ct_lungs")
    shutil.copytree(find_bundle("ct_lung"), tmp_path / "bare", ignore=shutil.ignore_patterns("*.pt"))
    (tmp_path / "bare" / "models" / "fold_0.pt").touch()
    with pytest.raises(BundleError, match=r"no models/model.pt to start from; got models/fold_0.pt; name a file"):
        initial_weights_file(str(tmp_path / "bare"))
