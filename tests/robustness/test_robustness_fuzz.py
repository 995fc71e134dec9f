"""Bad input by the thousand, in a process of its own whose memory is limited: refused by name, or read correctly."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from robustness_seeds import SEEDS

SCRIPT = Path(__file__).with_name("robustness_fuzz.py")


def fuzz(folder: Path, *words: str) -> Counter[tuple[str, str]]:
    """Counts by seed and outcome; what must not be is shown first."""
    found = folder / "found.json"
    command = [sys.executable, str(SCRIPT), "--json", str(found), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.exists(), done.stderr
    result = json.loads(found.read_text(encoding="utf-8"))
    assert [{key: value for key, value in one.items() if key != "data"} for one in result["failures"]] == []
    assert done.returncode == 0, done.stderr
    counts: Counter[tuple[str, str]] = Counter()
    for row in result["counts"]:
        counts[row["seed"], row["outcome"]] += row["count"]
    return counts


def test_bad_files_are_refused_by_name_or_read_correctly(tmp_path: Path) -> None:
    counts = fuzz(tmp_path, "--count", "12", "--every", "5", "--seed", "2")
    assert {seed for seed, _ in counts} == set(SEEDS)
    assert {outcome for _, outcome in counts} == {"refused", "correct"}
    assert counts.total() > 12 * len(SEEDS) + 500
    assert all(counts[seed, "refused"] > 5 for seed in SEEDS)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_many_bad_files_are_refused_by_name_or_read_correctly(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if request.config.option.markexpr != "slow":
        pytest.skip("a long run: pytest -m slow tests/robustness")
    assert fuzz(tmp_path, "--count", "3000", "--seed", "3").total() > 3000 * len(SEEDS)


def test_the_judge_sees_a_wrong_volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the counts would mean nothing: a reader that turns an image over, crashes or tells a name is seen."""
    import robustness_fuzz
    from robustness_oracle import independent
    from robustness_seeds import SECRET, write_seeds

    from medseg.errors import ImageError
    from medseg.intake import read_image

    path = write_seeds(tmp_path)["nii"]
    good, original = robustness_fuzz.Bad("nii", "bits", path.read_bytes()), independent(path)

    def turned(file: Path) -> object:
        image = read_image(file)
        return type(image)(image.array[:, ::-1], image.affine, image.source)

    def raising(error: Exception) -> object:
        def read(file: Path) -> object:
            raise error

        return read

    outcomes = []
    for reader in (
        read_image,
        turned,
        raising(RuntimeError("a bug")),
        raising(ImageError("something")),
        raising(ImageError(f"{path}: {SECRET}")),
        raising(ImageError(f"{path}: damaged")),
    ):
        monkeypatch.setattr(robustness_fuzz, "read_image", reader)
        outcomes.append(robustness_fuzz.judge(good, path, original).outcome)
    assert outcomes == ["correct", "wrong", "crashed", "unnamed", "leaked", "refused"]
