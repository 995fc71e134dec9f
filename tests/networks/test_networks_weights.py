"""Weights from files: one network, or several as one."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch

from medseg.errors import BundleError
from medseg.networks.weights import load_weights, weights_sha256


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    paths = []
    for number in range(3):
        net = torch.nn.Conv2d(1, 2, 1)
        with torch.no_grad():
            net.weight.fill_(float(number + 1))
            net.bias.zero_()
        paths.append(str(tmp_path / f"{number}.pt"))
        torch.save(net.half().state_dict(), paths[-1])
    return paths


def test_an_ensemble_is_the_mean_of_its_members_logits(files: list[str]) -> None:
    together = load_weights(torch.nn.Conv2d(1, 2, 1), path=files)
    one = load_weights(torch.nn.Conv2d(1, 2, 1), path=files[2])
    x = torch.full((1, 1, 2, 2), 5.0)
    assert torch.equal(together(x), torch.full((1, 2, 2, 2), 10.0))
    assert torch.equal(one(x), torch.full((1, 2, 2, 2), 15.0))


def test_an_ensemble_needs_members_and_all_its_files(files: list[str]) -> None:
    with pytest.raises(BundleError, match="an empty list"):
        load_weights(torch.nn.Conv2d(1, 2, 1), path=[])
    with pytest.raises(BundleError, match=r"absent.pt: no weights; train the bundle first"):
        load_weights(torch.nn.Conv2d(1, 2, 1), path=[files[0], "absent.pt"])
    with pytest.raises(BundleError, match="do not load into the bundle's network"):
        load_weights(torch.nn.Conv2d(1, 3, 1), path=files[0])


def test_the_fingerprint_tells_members_and_their_order_apart(files: list[str]) -> None:
    hashes = [hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in files]
    assert weights_sha256(files[0]) == hashes[0]
    assert weights_sha256(files[:2]) == hashlib.sha256(f"{hashes[0]}\n{hashes[1]}".encode()).hexdigest()
    assert weights_sha256(files[:2]) != weights_sha256(files[1::-1])


class Leaves:
    """Unpickled, it leaves a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(2, 1, 1, 1), "bias": Leaves(tmp_path / "left")}, tmp_path / "evil.pt")
    with pytest.raises(BundleError, match="do not load into the bundle's network"):
        load_weights(torch.nn.Conv2d(1, 2, 1), path=str(tmp_path / "evil.pt"))
    assert not (tmp_path / "left").exists()


@pytest.mark.parametrize(
    ("content", "got"),
    [
        ({"state_dict": {"weight": torch.zeros(1)}}, "state_dict: a dict"),
        ([torch.zeros(1)], "a list"),
        ({"weight": torch.zeros(1), "epoch": 3}, "epoch: a int"),
    ],
    ids=["nested", "list", "number"],
)
def test_weights_are_tensors_alone(content: object, got: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(BundleError, match=f"not weights alone; got {got}; expected a state dict"):
        load_weights(torch.nn.Conv2d(1, 2, 1), path=str(tmp_path / "other.pt"))


def test_safetensors_are_weights_too(files: list[str], tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    state = torch.load(files[1], weights_only=True)
    safetensors.save_file(state, tmp_path / "model.safetensors")
    (left, right) = (
        load_weights(torch.nn.Conv2d(1, 2, 1), path=path) for path in (files[1], str(tmp_path / "model.safetensors"))
    )
    assert torch.equal(left.weight, right.weight)
    assert torch.equal(left.bias, right.bias)
