"""A bundle that stays loaded gives, image after image, what `medseg predict` gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from medseg.datasets import load_datalist
from medseg.workflows import predict
from medseg.workflows.service import LoadedBundle

VARYING = ("seconds", "peak_memory_bytes", "input", "outputs")


@pytest.fixture
def images(volumes: Path) -> list[Path]:
    return [Path(item["image"]) for part in ("test", "validation") for item in load_datalist(volumes, part)]


def manifest(folder: Path, name: str) -> dict[str, Any]:
    content = json.loads((folder / f"{name}_manifest.json").read_text(encoding="utf-8"))
    return {key: value for key, value in content.items() if key not in VARYING}


def test_masks_and_manifests_are_those_of_predict(run: Path, images: list[Path], tmp_path: Path):
    loaded, stages = LoadedBundle(run, folder=tmp_path / "loading"), []
    for i, image in enumerate(images):
        name = image.name.removesuffix(".nii.gz")
        asked, own = tmp_path / f"predict_{i}", tmp_path / f"loaded_{i}"
        predict(run, inputs=image, output_dir=asked)
        report = loaded.segment(image, case_id=name, output_dir=own, watch=stages.append)
        assert (report.status, report.reason) == ("done", None)
        assert (own / f"{name}.nii.gz").read_bytes() == (asked / f"{name}.nii.gz").read_bytes()
        assert manifest(own, name) == manifest(asked, name)
    assert stages == ["read", "network", "write"] * len(images)


def test_an_image_that_fails_says_why_and_the_next_one_is_done(run: Path, images: list[Path], tmp_path: Path):
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(b"no image")
    loaded = LoadedBundle(run, folder=tmp_path / "loading")
    failed = loaded.segment(broken, case_id="broken", output_dir=tmp_path / "a")
    assert failed.status == "failed"
    assert "broken.nii.gz" in str(failed.reason)
    assert list((tmp_path / "a").glob("broken*")) == []
    done = loaded.segment(images[0], case_id="next", output_dir=tmp_path / "b")
    assert (done.status, (tmp_path / "b" / "next.nii.gz").is_file()) == ("done", True)
