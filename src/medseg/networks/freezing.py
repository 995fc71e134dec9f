"""Parts of a network that training leaves as they are."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from torch.nn.modules.batchnorm import _NormBase

from medseg.errors import BundleError
from medseg.networks.patterns import matching

logger = logging.getLogger(__name__)


def freeze(network: torch.nn.Module, patterns: Sequence[str]) -> set[str]:
    """Stop the training of the parameters whose names fit, and give these names.

    A normalisation whose weights are all frozen normalises by its stored statistics and keeps them, also in training
    mode: batch statistics would change what the frozen layers give.

    Parameters
    ----------
    network
        Changed in place.
    patterns
        Of the parameters' names, as `matching` takes them.

    Raises
    ------
    BundleError
        A pattern fits no parameter, or nothing would be left to train.
    """
    parameters = dict(network.named_parameters())
    frozen = matching(patterns, parameters)
    if not frozen:
        return frozen
    if len(frozen) == len(parameters):
        raise BundleError("freeze: nothing is left to train", got=", ".join(patterns), expected="a part of the network")
    for name in frozen:
        parameters[name].requires_grad_(False)
    network.register_forward_pre_hook(_rest_frozen_norms)
    logger.info("frozen: %d of %d tensors (%s)", len(frozen), len(parameters), ", ".join(patterns))
    return frozen


def _rest_frozen_norms(network: torch.nn.Module, _: object) -> None:
    """Before each step: what `.train()` has woken rests again. A hook, as it survives copies and SyncBatchNorm."""
    for module in network.modules():
        if isinstance(module, _NormBase) and module.training and _is_frozen(module):
            module.eval()


def _is_frozen(module: torch.nn.Module) -> bool:
    own = list(module.parameters(recurse=False))
    return bool(own) and not any(parameter.requires_grad for parameter in own)
