"""`medseg completion`: scripts that the shells take, and what bash then completes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from medseg.cli import main

BIN = str(Path(sys.executable).parent)


@pytest.fixture
def script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert main(["completion", "bash"]) == 0
    path = tmp_path / "medseg.bash"
    path.write_text(capsys.readouterr().out, encoding="utf-8")
    return path


def completions(script: Path, *words: str, folder: Path) -> list[str]:
    """What bash offers for the last of `words`."""
    line = " ".join(f"'{word}'" for word in words)
    code = (
        f"source '{script}'; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; "
        "_shtab_medseg; printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    environment = os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, cwd=folder, env=environment, check=True)
    return done.stdout.split()


def test_verbs_and_flags_are_completed(script: Path, tmp_path: Path):
    assert completions(script, "medseg", "pred", folder=tmp_path) == ["predict"]
    assert completions(script, "medseg", "data", "ins", folder=tmp_path) == ["inspect"]
    assert completions(script, "medseg", "predict", "--prec", folder=tmp_path) == ["--precision"]
    assert completions(script, "medseg", "predict", "x", "--precision", "b", folder=tmp_path) == ["bf16"]


def test_bundles_are_completed_by_name_and_by_folder(script: Path, tmp_path: Path):
    (tmp_path / "ct_mine").mkdir()
    (tmp_path / "ct_file.txt").touch()
    found = completions(script, "medseg", "train", "ct_", folder=tmp_path)
    assert sorted(found) == ["ct_lung", "ct_mine", "ct_sarcoma"]


def test_files_and_folders_are_completed(script: Path, tmp_path: Path):
    (tmp_path / "scans").mkdir()
    (tmp_path / "scan.nii").touch()
    assert sorted(completions(script, "medseg", "data", "inspect", "sc", folder=tmp_path)) == ["scan.nii", "scans"]
    assert completions(script, "medseg", "predict", "ct_lung", "-o", "sc", folder=tmp_path) == ["scans"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_script_knows_every_verb_and_looks_bundles_up_when_asked(
    shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["completion", shell]) == 0
    text = capsys.readouterr().out
    assert {
        verb for verb in ("train", "evaluate", "predict", "score", "inspect", "precision") if verb not in text
    } == set()
    assert "medseg bundle list" in text
    assert "ct_lung" not in text.replace("medseg bundle show ct_lung", ""), "names would go stale in the script"
    if shutil.which(shell) is not None:
        (tmp_path / "script").write_text(text, encoding="utf-8")
        subprocess.run([shell, "-n", str(tmp_path / "script")], check=True, capture_output=True)


def test_an_unknown_shell_is_refused(capsys: pytest.CaptureFixture[str]):
    assert main(["completion", "tcsh"]) == 2
    assert "invalid choice: 'tcsh'" in capsys.readouterr().err
