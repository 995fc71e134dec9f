"""Files with weights: state dicts of tensors alone, ours strictly, those of others as far as they hold tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from medseg.errors import BundleError, first_line

NESTED = ("evaluated", "state_dict", "model_state_dict", "model", "network", "network_weights", "net")
"""Under which key checkpoints hold their weights: ours of a run, MONAI's zoo, Lightning's, nnU-Net's."""


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a file by name, the key they stood under ("" at the top), and how many other values it had."""

    tensors: dict[str, torch.Tensor]
    key: str
    others: int


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The state dict of a file, made of nothing but tensors.

    Raises
    ------
    BundleError
        It holds anything else, or safetensors is not installed.
    """
    if path.suffix == ".safetensors":
        return _safetensors(path)
    state = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(state, dict):
        raise _not_weights(path, f"a {type(state).__name__}")
    for name, value in state.items():
        if not isinstance(value, torch.Tensor):
            raise _not_weights(path, f"{name}: a {type(value).__name__}")
    return state


def read_checkpoint(path: Path) -> Checkpoint:
    """The weights in a file of whatever training wrote it; no code of the file is run.

    Raises
    ------
    BundleError
        There is no such file, it cannot be read without running code, or holds no tensors by name.
    """
    if not path.is_file():
        raise BundleError(f"{path}: no weights to start from", expected="a file, or the name or folder of a bundle")
    if path.suffix == ".safetensors":
        return Checkpoint(_safetensors(path), "", 0)
    content = _content(path)
    key = next((key for key in NESTED if isinstance(content.get(key), dict)), "")
    state = content[key] if key else content
    tensors = {str(name): value for name, value in state.items() if isinstance(value, torch.Tensor)}
    if not tensors:
        raise _not_weights(path, f"{', '.join(map(str, list(state)[:5])) or 'an empty dict'}")
    return Checkpoint(tensors, key, len(state) - len(tensors))


def _content(path: Path) -> Mapping[str, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise BundleError(
            f"{path}: no weights that can be read without running code of the file",
            got=_refused(error),
            next_step="save them where the file is from: torch.save(network.state_dict(), FILE)",
        ) from error
    if not isinstance(content, dict):
        raise _not_weights(path, f"a {type(content).__name__}")
    return content


def _refused(error: Exception) -> str:
    """What torch has met; its first line tells how to run the file's code."""
    if not isinstance(error, UnpicklingError):
        return first_line(error)
    found = re.search(r"WeightsUnpickler error: *(\S.*)", str(error))
    return found[1] if found else "no file that torch.save has written"


def _not_weights(path: Path, got: str) -> BundleError:
    return BundleError(f"{path}: not weights alone", got=got, expected="a state dict: names and tensors")


def _safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise BundleError(f"{path} needs safetensors", next_step="pip install 'medseg[safetensors]'") from error
    try:
        tensors: dict[str, torch.Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise BundleError(f"{path}: no .safetensors file that can be read", got=first_line(error)) from error
    return tensors
