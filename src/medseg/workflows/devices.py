"""The device that a command asks for, as a value of a bundle's configuration."""

from __future__ import annotations

from medseg.errors import BundleError


def device_setting(device: str) -> str:
    """The `device` of a configuration for "cpu", "cuda" or "cuda:1".

    Raises
    ------
    BundleError
        A device that this machine does not have.
    """
    import torch

    kind, _, number = device.partition(":")
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if kind == "cuda" and int(number or 0) >= there:
        raise BundleError(
            f"device {device} is not there",
            got=f"{there} GPUs that torch can use",
            expected=", ".join(["cpu", *(f"cuda:{i}" for i in range(there))]),
            next_step=None if there else "see the table 'CPU or GPU' of the README for a torch with CUDA",
        )
    return f"$torch.device('{device}')"
