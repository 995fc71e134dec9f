"""Two processes by Gloo train what one process trains: order, loss, scores, averages, legs, failures.

They are started as a user starts them, by torchrun. The tolerance is that of float32 sums in another order. Weights
of the few steps of a tiny run: 2e-4 of the norm of all of them together, and 1e-3, the learning rate, of each. AdamW
divides by the gradient's size, so that a rounding error of a gradient near zero becomes one of the step, and a weight
can be further off than all together: one process with one thread and with two differ by 3e-5 and 2e-4, a learning
rate that is 1 % off makes 9e-4 and 2e-3. Losses and scores: 5e-5.
"""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
import yaml
from PIL import Image as Pillow

from medseg.bundle import find_bundle
from medseg.datasets import EpochSampler
from medseg.networks import UNet2d
from medseg.training import parallel
from medseg.workflows import train

HERE = Path(__file__).parent
BUNDLES = ("ct_lung", "ct_sarcoma", "cxr_heart_lung", "mr_hippocampus")
TINY: dict[str, dict[str, Any]] = {
    "mr_hippocampus": {"window": [16, 16, 16], "network_def::filters": [4, 8, 8, 8], "batch_size": 2},
    "cxr_heart_lung": {"image_size": [64, 64], "network_def::base_width": 4, "batch_size": 2},
}
COMMON: dict[str, Any] = {"precision": "fp32", "epochs": 2, "validate_every": 1, "device": "$torch.device('cpu')"}


def write_cases(folder: Path, *, dims: int) -> Path:
    """A datalist of five training cases (the fifth fills no batch of two), three for validation, one for the test."""
    folder.mkdir()
    rng, items = np.random.default_rng(dims), []
    for i in range(9):
        label = np.zeros((20,) * 3 if dims == 3 else (64,) * 2, np.uint8)
        label[4:12, 4 : 12 + i], label[12:18, 4 : 12 + i] = 1, 2
        if dims == 2:
            label[40:60, 40 : 50 + i] = 3
        image = (rng.normal(100, 10, label.shape) + 40 * label).clip(0, 255).astype(np.uint8)
        names = [f"{kind}_{i}{'.nii.gz' if dims == 3 else '.png'}" for kind in ("image", "label")]
        for name, array in zip(names, (image, label), strict=True):
            if dims == 3:
                nibabel.save(nibabel.Nifti1Image(array.astype(np.int16), np.eye(4)), folder / name)
            else:
                Pillow.fromarray(array).save(folder / name)
        items.append({"id": f"case_{i}", "patient": f"p{i}", "image": names[0], "label": names[1]})
    parts = {"training": items[:5], "validation": items[5:8], "test": items[8:]}
    (folder / "datalist.json").write_text(json.dumps(parts), encoding="utf-8")
    return folder / "datalist.json"


def torchrun(*words: object) -> subprocess.CompletedProcess[str]:
    """Two processes, on a port that is free."""
    given = torchrun_words(*words)
    return subprocess.run(given, capture_output=True, text=True, env=environment(), check=False, timeout=240)


def torchrun_words(*words: object) -> list[str]:
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", *map(str, words)]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads()), "PYTHONFAULTHANDLER": "1"}


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cases(tmp_path_factory.mktemp("data") / "volumes", dims=3)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cases(tmp_path_factory.mktemp("data") / "pictures", dims=2)


@pytest.fixture(scope="module")
def both(volumes: Path, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """The folder of `two_processes.py`, and what each of them said."""
    folder = tmp_path_factory.mktemp("both")
    done = torchrun(HERE / "two_processes.py", volumes, pictures, folder)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, [json.loads((folder / f"{rank}.json").read_text(encoding="utf-8")) for rank in range(2)]


def same_run(one: Path, two: Path, *, legs: int = 1) -> None:
    """Weights, averages and curves of two runs, within the tolerances above, and the same files."""
    states = [torch.load(run / "models" / "last.pt", weights_only=True) for run in (one, two)]
    for part in ("network", "evaluated"):
        assert states[0][part].keys() == states[1][part].keys()
        first, second = (torch.cat([value.double().flatten() for value in state[part].values()]) for state in states)
        assert float((first - second).norm() / first.norm()) < 2e-4, part
        assert float((first - second).abs().max()) < 1e-3, part
    assert states[0]["best_metric"] == pytest.approx(states[1]["best_metric"], abs=5e-5)
    tables = [list(csv.DictReader(io.StringIO((run / "history.csv").read_text("utf-8")))) for run in (one, two)]
    for row, other in zip(*tables, strict=True):
        for name in row.keys() - {"seconds", "data_wait"}:
            assert float(row[name]) == pytest.approx(float(other[name]), abs=5e-5), name
    beside = ("events.", "log.txt", "training.")  # one command keeps a log, one has no matplotlib
    names = [{path.name for path in run.rglob("*") if not path.name.startswith(beside)} for run in (one, two)]
    assert names[0] == names[1]
    assert [len(list(run.glob("tensorboard/*"))) for run in (one, two)] == [1, legs]  # by the first process alone


def test_the_overlay_is_the_same_in_all_bundles() -> None:
    texts = {name: (find_bundle(name) / "configs" / "multi_gpu.yaml").read_text(encoding="utf-8") for name in BUNDLES}
    assert set(texts.values()) == {texts["ct_lung"]}


def test_monais_own_runner_trains_on_volumes_in_two_processes_with_nothing_else_installed(
    volumes: Path, tmp_path: Path
) -> None:
    tiny = TINY["mr_hippocampus"] | COMMON
    one = train("mr_hippocampus", datalist=volumes, run_dir=tmp_path / "one", overrides=tiny)
    configs = find_bundle("mr_hippocampus") / "configs"
    files = [str(configs / name) for name in ("common.yaml", "train.yaml", "multi_gpu.yaml")]
    words = ["run", "training", "--meta_file", configs / "metadata.json", "--config_file", files]
    given = tiny | {"datalist": volumes, "run_dir": tmp_path / "two"}
    words += [word for key, value in given.items() for word in (f"--{key}", value)]
    done = torchrun(HERE / "lean_packages.py", "monai.bundle", *words, "--logging_file", configs / "logging.conf")
    assert done.returncode == 0, done.stderr[-3000:]
    same_run(one, tmp_path / "two")
    assert json.loads((tmp_path / "two" / "run.json").read_text(encoding="utf-8"))["environment"]["processes"] == 2
    train_yaml = yaml.safe_load((tmp_path / "two" / "configs" / "train.yaml").read_text(encoding="utf-8"))
    assert train_yaml["finalize"] == [{"_target_": "medseg.training.leave"}]


def test_two_legs_of_two_processes_are_one_run_of_one_process(
    both: tuple[Path, list[dict[str, Any]]], pictures: Path, tmp_path: Path
) -> None:
    folder, said = both
    frozen = TINY["cxr_heart_lung"] | COMMON | {"network_def::freeze_batch_norm": True}
    one = train(
        "cxr_heart_lung",
        datalist=pictures,
        run_dir=tmp_path / "one",
        overlays=["gpu_augmentation"],
        overrides=frozen,
    )
    assert [process["status"] for process in said] == ["stopped", "stopped"]
    assert [process[leg][0] for process in said for leg in ("first leg", "second leg")] == [0, 0, 0, 0]
    assert "resumed after epoch 1 of 2" in said[0]["second leg"][1]
    assert said[1]["second leg"][1] == ""
    same_run(one, folder / "legs", legs=2)


def test_a_step_of_two_processes_takes_the_gradient_of_the_whole_batch(
    both: tuple[Path, list[dict[str, Any]]],
) -> None:
    for process in both[1]:
        assert process["gradients"]["whole"] < 1e-6
        assert process["gradients"]["whole loss"] < 1e-6
    # what averaging the losses of the shares would give, for the Dice of a batch
    assert max(process["gradients"]["share"] for process in both[1]) > 1e-3


def test_scores_are_over_the_cases_of_both_processes_each_counted_once(
    both: tuple[Path, list[dict[str, Any]]],
) -> None:
    for process in both[1]:
        shared, alone = (process["scores"][name] for name in ("shared", "alone"))
        assert len(shared) == len(alone) == 11
        assert shared == {name: pytest.approx(value, abs=1e-9) for name, value in alone.items()}


def test_the_two_shares_make_the_batches_of_one_process(both: tuple[Path, list[dict[str, Any]]]) -> None:
    sampler = EpochSampler(range(9), seed=3, batch_size=4)
    for epoch in range(2):
        sampler.set_epoch(epoch)
        alone = list(sampler)
        shares = [process["order"]["9"][epoch] for process in both[1]]
        for batch in range(2):
            of_both = [*shares[0][2 * batch : 2 * batch + 2], *shares[1][2 * batch : 2 * batch + 2]]
            assert sorted(of_both) == sorted(alone[4 * batch : 4 * batch + 4])
    # of three cases in batches of four each process takes one, none counts twice
    for first, second in zip(*(process["order"]["3"] for process in both[1]), strict=True):
        assert len(first) == len(second) == 1
        assert first != second


def test_the_moving_average_is_the_same_in_both_processes(both: tuple[Path, list[dict[str, Any]]]) -> None:
    for process in both[1]:
        first, second, apart = process["average"]
        assert first == second
        assert apart > 0.1


def test_local_batch_normalisation_is_told_and_frozen_is_not(both: tuple[Path, list[dict[str, Any]]]) -> None:
    assert "statistics of each process's share" in both[1][0]["warned"]
    assert "freeze_batch_norm=true" in both[1][0]["warned"]
    assert both[1][0]["warned when frozen"] == ""


def test_synchronised_batch_normalisation_takes_the_place_of_what_is_trained_and_nothing_else() -> None:
    """Its statistics need GPUs; that each layer is replaced, with its weights, does not."""
    image = torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    for frozen in (False, True):
        network = UNet2d(in_channels=1, out_channels=2, base_width=2, depth=2, freeze_batch_norm=frozen).eval()
        before = network(image)
        trained = parallel._batch_norms(network)
        parallel._synchronise(network, trained)
        kinds = [type(one) for one in network.modules() if isinstance(one, torch.nn.modules.batchnorm._BatchNorm)]
        assert len(kinds) > 0
        assert {kind is torch.nn.SyncBatchNorm for kind in kinds} == {not frozen}
        assert len(trained) == (0 if frozen else len(kinds))
        torch.testing.assert_close(network.eval()(image), before, rtol=0, atol=0)


def test_what_cannot_be_shared_is_refused_in_both(both: tuple[Path, list[dict[str, Any]]]) -> None:
    for process in both[1]:
        assert "expected a multiple of 2" in process["refusals"]["batch"]
        assert "1 cases for 2 processes" in process["refusals"]["validation"]
        assert "(1, 1, 4) and (1, 1, 5)" in process["refusals"]["sizes"]
    assert [process["refusals"]["first"] for process in both[1]] == [
        "MedsegError: no room",
        "TrainingError: the first process could not go on; got no room",
    ]


def test_a_loss_that_is_not_finite_ends_both_and_names_the_cases_of_the_batch(
    both: tuple[Path, list[dict[str, Any]]],
) -> None:
    for rank, process in enumerate(both[1]):
        code, text = process["spoilt"]
        assert code == 1
        assert f"process {rank} of 2: error: the loss is not finite at step 2" in text
        assert text.count("case_") == 2
    record = json.loads((both[0] / "spoilt" / "run.json").read_text(encoding="utf-8"))
    assert record["status"] == "stopped"
    assert "not finite" in record["reason"]


def test_a_case_that_one_process_cannot_read_ends_both(pictures: Path, tmp_path: Path) -> None:
    broken = write_cases(tmp_path / "pictures", dims=2)
    parts = json.loads(broken.read_text(encoding="utf-8"))
    (broken.parent / parts["training"][0]["image"]).write_bytes(b"no picture")
    broken.write_text(json.dumps(parts), encoding="utf-8")
    words = [f"{name}={value}" for name, value in (TINY["cxr_heart_lung"] | COMMON).items() if name != "device"]
    done = torchrun(
        *("-m", "medseg.cli", "train", "cxr_heart_lung", "--overlay", "multi_gpu", "--datalist", broken),
        *("-o", tmp_path / "run", "--device", "cpu", "train::dataset::cache=false", "seed=7", *words),
    )
    assert done.returncode != 0
    errors = [line for line in done.stderr.splitlines() if line.startswith("medseg: process")]
    assert any("case case_0" in line for line in errors), done.stderr[-3000:]
    assert any("another process of this run has ended" in line for line in errors), done.stderr[-3000:]
    assert "bug in medseg" not in done.stderr


def test_sigterm_to_torchrun_leaves_a_checkpoint_and_the_command_that_goes_on_with_as_many_processes(
    pictures: Path, tmp_path: Path
) -> None:
    tiny = TINY["cxr_heart_lung"] | COMMON | {"epochs": 10_000, "validate_every": 10_000}
    words = [f"{name}={value}" for name, value in tiny.items() if name != "device"]
    run = tmp_path / "run"
    given = ("train", "cxr_heart_lung", "--overlay", "multi_gpu", "--datalist", pictures, "-o", run, "--device", "cpu")
    command = torchrun_words("-m", "medseg.cli", *given, *words)
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment()) as process:
        while not (run / "models" / "last.pt").is_file():
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=240)
    assert process.returncode == 1  # torchrun's own; its processes end with 143
    told = next(line.strip() for line in said.splitlines() if "--resume" in line)
    assert told == (
        f"torchrun --standalone --nproc_per_node=2 -m medseg.cli train {run} -o {run} "
        f"--datalist {run / 'datalist.json'} --resume"
    )
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    assert (record["status"], record["reason"]) == ("stopped", "stopped by SIGTERM")


def test_processes_without_the_overlay_are_refused(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(
        ValueError, match=r"2 processes were started for a configuration of one.*--overlay multi_gpu.*name the bundle"
    ):
        train("cxr_heart_lung", datalist=pictures, run_dir=tmp_path / "run", overrides=TINY["cxr_heart_lung"] | COMMON)
    assert not (tmp_path / "run").exists()
