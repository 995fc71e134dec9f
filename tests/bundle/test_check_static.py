"""Stage one: each kind of mistake, its place and what is said of it; and that nothing heavy is imported for it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from medseg.bundle import find_bundle
from medseg.bundle.check import Finding, check_static
from medseg.bundle.check.index import Index

INDEX = Index()
NAMES = ["ct_lung", "ct_sarcoma", "cxr_heart_lung", "mr_hippocampus"]


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """The configurations of a bundle that ships, to be spoilt."""
    shutil.copytree(find_bundle("ct_lung") / "configs", tmp_path / "mine" / "configs")
    return tmp_path / "mine"


def check(bundle: Path, purpose: str | None = None, **settings: Any) -> list[Finding]:
    return check_static(bundle, purpose, index=INDEX, **settings)


def spoil(bundle: Path, file: str, old: str, new: str) -> int:
    """Replace the first `old` in a file; its line."""
    path = bundle / "configs" / file
    text = path.read_text(encoding="utf-8")
    assert old in text, old
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return text[: text.index(old)].count("\n") + 1


@pytest.mark.parametrize("name", NAMES)
def test_the_shipped_bundles_with_each_overlay_have_no_mistake(name: str):
    folder = find_bundle(name)
    overlays = {path.stem for path in (folder / "configs").glob("*.yaml")} - {
        "common",
        "train",
        "evaluate",
        "inference",
    }
    for overlay in [[], *([one] for one in sorted(overlays))]:
        assert [finding.text() for finding in check(folder, overlays=overlay)] == []


def test_an_overlay_for_what_another_one_has_replaced_is_told_the_order_that_works():
    folder = find_bundle("ct_sarcoma")
    (finding,) = check(folder, "train", overlays=["deep_supervision", "smoke"])
    assert "DynUNet takes no argument channels" in finding.text()
    assert finding.hint == (
        "deep_supervision has put DynUNet in its place: give --overlay smoke before --overlay deep_supervision"
    )
    assert check(folder, "train", overlays=["smoke", "deep_supervision"]) == []


@pytest.mark.parametrize("purpose", ["train", "evaluate", "inference"])
def test_one_command_alone_has_no_mistake(purpose: str):
    assert check(find_bundle("mr_hippocampus"), purpose, overlays=["smoke"]) == []


def test_numbers_that_no_run_can_start_with_are_told_once_each():
    wrong = {"overlap": 1.5, "jobs": 0, "batch_size": 0, "cases_at_most": 0, "spacing_mm": [1.5, 0.0, 1.5], "seed": -1}
    more = {"workers": -1, "learning_rate": -0.1, "validate_every": 0, "early_stop_patience": 0}
    more["stop_after_minutes"] = -1
    found = check(find_bundle("ct_lung"), overrides={**wrong, **more})
    assert {one.code for one in found} == {"range"}
    texts = "\n".join(one.text() for one in found)
    for name, value in {**wrong, **more}.items():
        assert f"which is @{name}, is out of range; got {value}; expected" in texts
    (norm,) = check(find_bundle("ct_lung"), overrides={"train::trainer::iteration_update::max_gradient_norm": 0})
    assert "iteration_update::max_gradient_norm is out of range; got 0; expected a number above 0, or" in norm.text()


SPOILT = {
    "a key of MONAI's": ("train.yaml", "_target_: SimpleInferer", "_targt_: SimpleInferer", "unknown-key", "_target_?"),
    "a setting beside another": ("train.yaml", "epochs:", "epoch: 99\nepochs:", "unused-id", "did you mean epochs?"),
    "a key in a list of components": (
        "train.yaml",
        "- _target_: medseg",
        "- target: medseg",
        "no-target",
        "of target?",
    ),
    "a class in a list, bare": (
        "train.yaml",
        "_target_: medseg.training.FiniteLoss",
        "medseg.training.FiniteLoss",
        "no-target",
        "write _target_: medseg.training.FiniteLoss",
    ),
    "a reference": ("common.yaml", '"@overlap"', '"@overlab"', "missing-reference", "did you mean overlap?"),
    "a reference in an expression": ("common.yaml", "$len(@labels)", "$len(@label)", "missing-reference", "labels?"),
    "a circle": ("common.yaml", "overlap: 0.5", 'overlap: "@overlap"', "circular-reference", "overlap -> overlap"),
    "a class of MONAI's": ("common.yaml", "_target_: UNet", "_target_: Unett", "missing-target", "did you mean UNet?"),
    "a class of medseg's": (
        "train.yaml",
        "medseg.training.FiniteLoss",
        "medseg.training.FinitLoss",
        "missing-target",
        "did you mean FiniteLoss?",
    ),
    "a package": ("train.yaml", "ignite.handlers.EMA", "ignit.handlers.EMA", "missing-target", "no package ignit"),
    "an argument": ("common.yaml", "num_res_units", "num_res_unit", "unknown-argument", "did you mean num_res_units?"),
    "an argument that is handed on": ("train.yaml", "drop_last", "drop_lost", "unknown-argument", "drop_last?"),
    "an argument of a nested component": ("train.yaml", "momentum:", "momentun:", "unknown-argument", "momentum?"),
    "a literal of the wrong type": ("train.yaml", "prob: 0.7", "prob: often", "wrong-type", "expected float"),
    "a setting of the wrong type": ("train.yaml", "epochs: 14", "epochs: [14]", "wrong-type", "which is @epochs,"),
    "a word that is not among the choices": (
        "common.yaml",
        "precision: auto",
        "precision: fp23",
        "wrong-type",
        "fp32?",
    ),
    "a way to interpolate": ("common.yaml", "[bilinear, nearest]", "[bilinaer, nearest]", "wrong-choice", "bilinear?"),
    "a normalisation": ("common.yaml", "[INSTANCE,", "[INSTANSE,", "wrong-choice", "did you mean instance?"),
    "YAML's idea of a number": ("train.yaml", "1.0e-3", "1e-3", "number-as-text", "write 1.0e-3"),
    "a boolean in quotes": ("train.yaml", "resume: false", 'resume: "False"', "number-as-text", "write false"),
    "a name in an expression": ("train.yaml", "$torch.uint8", "$torch.unit8", "missing-name", "did you mean uint8?"),
    "an argument in an expression": ("train.yaml", "(seed=@seed)", "(sed=@seed)", "unknown-argument", "mean seed?"),
    "a method": ("train.yaml", "@train::trainer.run()", "@train::trainer.runn()", "missing-name", "did you mean run?"),
    "a module that is not imported": ("common.yaml", "$os.path.join", "$oss.path.join", "unknown-name", "mean os?"),
    "a bracket": ("common.yaml", "$len(@labels)", "$len(@labels", "no-python", "never closed"),
    "a key of a case": ("train.yaml", "keys: image\n", "keys: imag\n", "unknown-key-read", "did you mean image?"),
    "a window that strides do not divide": (
        "common.yaml",
        "[112, 96, 96]",
        "[110, 96, 96]",
        "window",
        "multiples of 16",
    ),
    "a window with an axis too few": ("common.yaml", "[112, 96, 96]", "[112, 96]", "window", "expected 3 sizes"),
    "channels": ("common.yaml", "in_channels: 1", "in_channels: 2", "channels", "expected 1"),
    "a label that is interpolated": ("common.yaml", "[bilinear, nearest]", "[nearest, bilinear]", "labels", "nearest]"),
    "a label that is interpolated by default": (
        "train.yaml",
        "- _target_: RandAffined",
        "- {_target_: RandZoomd, keys: label}\n    - _target_: RandAffined",
        "labels",
        "RandZoomd mixes the values",
    ),
    "a label that there is not": ("common.yaml", "labels: [1, 2]", "labels: [1, 3]", "labels", "expected 0, 1, 2"),
    "two activations": (
        "train.yaml",
        "softmax: true",
        "softmax: true\n    sigmoid: true",
        "loss",
        "exclude each other",
    ),
    "a property that MONAI asks for": ("train.yaml", "max_epochs:", "max_epoch:", "missing-property", "max_epochs"),
    "the metadata's schema": (
        "metadata.json",
        '"task":',
        '"tasks":',
        "metadata",
        "did you mean task instead of tasks?",
    ),
    "a version": ("metadata.json", '"monai_version": "1.6', '"monai_version": "1.2', "version", "got 1.2.1; expected"),
}


@pytest.mark.parametrize(("file", "old", "new", "code", "said"), SPOILT.values(), ids=SPOILT.keys())
def test_a_mistake_is_told_with_its_line_and_what_was_meant(
    mine: Path, file: str, old: str, new: str, code: str, said: str
):
    line = spoil(mine, file, old, new)
    texts = [finding.text(mine) for finding in check(mine) if finding.code == code]
    near = [text for text in texts if said in text]
    assert near, texts
    added = new.count("\n") - old.count("\n") if code == "loss" else 0
    places = {f"configs/{file}:{line + added}", f"configs/{file}:{_component_line(mine, file, line)}"}
    assert any(text.split(": ")[0] in places for text in near), near


def test_a_number_written_as_a_text_is_told_once_and_not_where_it_is_used_too(mine: Path):
    spoil(mine, "train.yaml", "1.0e-3", "1e-3")
    assert [finding.code for finding in check(mine)] == ["number-as-text"]


@pytest.mark.parametrize("series", ["2", "1.25"])
def test_a_text_that_goes_where_texts_are_taken_may_be_a_number(series: str):
    """`predict --series 2` sets this id, which goes into an argument that takes a text."""
    assert check(find_bundle("ct_lung"), "inference", overrides={"series": series}) == []


def _component_line(bundle: Path, file: str, line: int) -> int:
    """Where the component begins: what it lacks is told there (the trainer's key for its max_epochs)."""
    lines = (bundle / "configs" / file).read_text(encoding="utf-8").splitlines()
    return next((n for n in range(line, 0, -1) if lines[n - 1].strip() == "trainer:"), line)


def test_all_mistakes_are_told_at_once_errors_first(mine: Path):
    spoil(mine, "train.yaml", "prob: 0.7", "prob: often")
    spoil(mine, "common.yaml", '"@overlap"', '"@overlab"')
    spoil(mine, "metadata.json", '"numpy_version": "2', '"numpy_version": "1')
    found = check(mine)
    assert [finding.severity for finding in found] == sorted(finding.severity for finding in found)
    assert {finding.code for finding in found} >= {"wrong-type", "missing-reference", "version"}


def test_a_missing_argument_is_told_at_its_component(mine: Path):
    line = spoil(mine, "common.yaml", "  in_channels: 1\n", "")
    (finding,) = [one for one in check(mine) if one.code == "missing-argument"]
    assert finding.what == "network_def: UNet lacks its argument in_channels"
    target = (mine / "configs" / "common.yaml").read_text(encoding="utf-8").splitlines().index("  _target_: UNet") + 1
    assert finding.line == target < line


def test_a_key_that_the_data_list_lacks_is_told(mine: Path, tmp_path: Path):
    case = {"id": "a", "patient": "a", "image": "a.nii.gz"}
    datalist = {part: [case] for part in ("training", "validation", "test")}
    (tmp_path / "datalist.json").write_text(json.dumps(datalist), encoding="utf-8")
    texts = [f.text() for f in check(mine, "train", overrides={"datalist": str(tmp_path / "datalist.json")})]
    assert any("reads the key label, which nothing before it writes" in text for text in texts)
    datalist = {part: [case | {"label": "b.nii.gz"}] for part in datalist}
    (tmp_path / "datalist.json").write_text(json.dumps(datalist), encoding="utf-8")
    assert check(mine, "train", overrides={"datalist": str(tmp_path / "datalist.json")}) == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("max_epocs", None),
        ("epochz", "did you mean epochs?"),
        ("nett", None),
        ("train::trainr::max_epochs", "did you mean train::trainer?"),
        ("network_def::chanels", "network_def: UNet takes no argument chanels"),
    ],
)
def test_an_unknown_override_is_told(mine: Path, name: str, said: str | None):
    texts = [finding.text() for finding in check(mine, "train", overrides={name: 1})]
    assert any(text.startswith("command line: error: ") for text in texts)
    assert said is None or any(said in text for text in texts)


def test_labels_that_8_bits_do_not_hold_are_told(mine: Path):
    line = spoil(mine, "train.yaml", "dtype: $torch.uint8", "dtype: $torch.uint8")  # where it is
    spoil(mine, "metadata.json", '"2": "right lung"', '"255": "right lung"')
    assert not any("does not hold" in one.text(mine) for one in check(mine, "train"))
    spoil(mine, "metadata.json", '"255": "right lung"', '"256": "right lung"')
    (found,) = (one.text(mine) for one in check(mine, "train") if "does not hold" in one.text(mine))
    assert found == (
        f"configs/train.yaml:{line}: error: train::padding::1::dtype does not hold the label 256 of the metadata;"
        " got $torch.uint8; expected $torch.int16"
    )


def test_one_mode_a_key_is_right_where_monai_annotates_one_alone(mine: Path):
    new = "- {_target_: RandGridDistortiond, keys: [image, label], mode: [bilinear, nearest]}"
    spoil(mine, "train.yaml", "- _target_: RandAffined", f"{new}\n    - _target_: RandAffined")
    assert check(mine) == []


def test_an_override_beside_the_argument_that_was_meant_has_a_hint(mine: Path):
    (found,) = check(mine, overrides={"network_def::stride": [2]})
    assert found.text(mine).endswith("did you mean strides?")


def test_an_override_that_one_command_has_is_right_for_the_whole_bundle(mine: Path):
    assert check(mine, overrides={"epochs": 3, "network_def::dropout": 0.1}) == []
    assert check(mine, overrides={"overlap": 0.25, "jobs": 1, "cases_at_most": None, "workers": 0}) == []
    assert [one.code for one in check(mine, "evaluate", overrides={"epochs": 3})] == ["unknown-override"]


def test_what_is_wrong_in_an_overlay_is_told_there(mine: Path):
    text = "epochs: many\nnetwork_def::chanels: [4, 8]\ntrain::lss::batch: true\nlearning_rat: 1.0\n"
    (mine / "configs" / "mine.yaml").write_text(text, encoding="utf-8")
    found = {(one.code, one.line) for one in check(mine, "train", overlays=["mine"]) if one.file.endswith("mine.yaml")}
    assert found >= {("unknown-id", 3), ("wrong-type", 1), ("unknown-argument", 2), ("unused-id", 4)}


def test_settings_for_training_alone_are_refused(mine: Path):
    line = spoil(mine, "train.yaml", "epochs:", "spacing_mm: [1.0, 1.0, 1.0]\nepochs:")
    (finding,) = [one for one in check(mine) if one.code == "inconsistent"]
    assert (Path(finding.file).name, finding.line, finding.got) == ("train.yaml", line, "[1.0, 1.0, 1.0]")


def test_neither_torch_nor_monai_is_imported_and_nothing_of_the_bundle_runs(mine: Path, tmp_path: Path):
    spoil(mine, "common.yaml", "overlap: 0.5", f"overlap: $open({str(tmp_path / 'ran')!r}, 'w').close()")
    (mine / "nibabel.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')", encoding="utf-8")
    code = (
        "import sys; from pathlib import Path; from medseg.bundle.check import check_static\n"
        f"check_static(Path({str(mine)!r}))\n"
        "sys.stdout.write(str(sorted({'torch', 'monai', 'ignite', 'SimpleITK', 'scipy'} & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]"
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("file", "text", "line", "said"),
    [
        ("train.yaml", "a: 1\nb: [1, 2\nc: 3\n", 3, "no YAML"),
        ("metadata.json", '{\n "a": 1,\n "b": }\n', 3, "no JSON"),
        ("common.yaml", "- a\n- b\n", 1, "no configuration"),
        ("common.yaml", "a: 1\nb: 2\na: 3\n", 3, "a stands twice"),
        # libyaml's parser would end the process, json's and Python's leave by an exception of their own
        pytest.param("train.yaml", "a: " + "[" * 10**5 + "]" * 10**5, None, "no YAML: nested", id="deep-yaml"),
        pytest.param("metadata.json", "[" * 10**5 + "]" * 10**5, None, "no JSON: nested", id="deep-json"),
        pytest.param("train.yaml", f"a: ${'(' * 999}1{')' * 999}", 1, "a is no Python", id="deep-expression"),
        pytest.param("train.yaml", f"a: ${'-' * 999}1", 1, "a is no Python", id="long-chain"),
        pytest.param("train.yaml", 'a: "$1\\0"', 1, "a is no Python", id="null-byte"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_with_its_line(mine: Path, file: str, text: str, line: int, said: str):
    (mine / "configs" / file).write_text(text, encoding="utf-8")
    found = [one for one in check(mine) if one.what.startswith(said)]
    assert [(Path(one.file).name, one.line) for one in found] == [(file, line)]


@pytest.mark.parametrize(
    "grow", ['a: ["%a", "%a"]', 'a: ["%b", "%b", "%b"]\nb: ["%a", "%a", "%a"]', 'a: "%a"', 'a: {b: "%a::b"}']
)
def test_macros_without_end_are_told_and_not_unrolled(mine: Path, grow: str):
    path = mine / "configs" / "common.yaml"
    path.write_text(path.read_text(encoding="utf-8") + grow + "\n", encoding="utf-8")
    assert any(one.code == "circular-reference" and "has no end" in one.what for one in check(mine))
