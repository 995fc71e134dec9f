"""Learning rates that differ between parts of a network."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from medseg.errors import BundleError
from medseg.networks.patterns import matching

logger = logging.getLogger(__name__)


def parameter_groups(
    network: torch.nn.Module,
    *,
    learning_rate: float,
    encoder: Sequence[str] = (),
    encoder_factor: float = 1.0,
    factors: Mapping[str, float] | None = None,
) -> list[dict[str, Any]]:
    """What an optimiser takes as `params`: the trained parameters, those of one rate in one group.

    The first group has `learning_rate` itself. Schedules of torch scale each group from its own rate, and a checkpoint
    of the optimiser holds the groups, so a resumed run goes on with the same rates.

    Parameters
    ----------
    network
        Frozen parameters (without gradient) are in no group; a rate of nothing but such ones is told as a warning.
    learning_rate
        Of what no pattern names.
    encoder
        Patterns of the encoder's parameters, as `matching` takes them.
    encoder_factor
        The encoder's rate is this times `learning_rate`; 1 makes no group of its own.
    factors
        Pattern to factor, before `encoder`; of several that fit the first counts.

    Raises
    ------
    BundleError
        A factor is not above 0, a pattern fits no parameter, or every trained parameter has a rate of its own.
    """
    of_pattern = dict(factors or {})
    _refuse_no_rate({**of_pattern, "the encoder's": encoder_factor})
    if encoder_factor != 1.0:
        of_pattern |= {pattern: encoder_factor for pattern in encoder if pattern not in of_pattern}
    parameters = dict(network.named_parameters())
    of_name: dict[str, float] = {}
    for pattern, factor in of_pattern.items():
        of_name = {**dict.fromkeys(matching([pattern], parameters), factor), **of_name}
    _warn_of_frozen({f"learning_rate_factors: {pattern}": [pattern] for pattern in factors or {}}, parameters)
    if encoder_factor != 1.0:
        _warn_of_frozen({f"encoder_learning_rate={encoder_factor:g}": encoder}, parameters)
    groups: dict[float, list[torch.nn.Parameter]] = {1.0: []}
    for name, parameter in parameters.items():
        if parameter.requires_grad:
            groups.setdefault(of_name.get(name, 1.0), []).append(parameter)
    return _groups(groups, learning_rate)


def _warn_of_frozen(settings: Mapping[str, Sequence[str]], parameters: Mapping[str, torch.nn.Parameter]) -> None:
    """Of settings, with their patterns, that no trained parameter fits."""
    for setting, patterns in settings.items():
        named = matching(patterns, parameters)
        if named and not any(parameters[name].requires_grad for name in named):
            logger.warning(
                "%s has no effect: the %d tensors that it names are all frozen (freeze)", setting, len(named)
            )


def _groups(groups: Mapping[float, list[torch.nn.Parameter]], learning_rate: float) -> list[dict[str, Any]]:
    if not groups[1.0]:
        raise BundleError(
            "every trained parameter has a factor of its own",
            got=", ".join(f"{factor:g}" for factor in groups),
            expected="some that train at learning_rate itself",
            next_step="name fewer parts, or change learning_rate",
        )
    for factor, members in groups.items():
        if factor != 1.0:
            logger.info("%d tensors train at %g times the learning rate", len(members), factor)
    return [{"params": members, "lr": learning_rate * factor} for factor, members in groups.items()]


def _refuse_no_rate(factors: Mapping[str, float]) -> None:
    for pattern, factor in factors.items():
        if not factor > 0:
            raise BundleError(
                f"factor of the learning rate for {pattern}",
                got=factor,
                expected="a number above 0",
                next_step="freeze leaves a part untrained: freeze='[\"PATTERN\"]'",
            )


def rates_after(epochs: int, scheduler: Any) -> list[float]:
    """Step a fresh schedule so many times; the rates of the optimiser's groups then."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch expects a step of the optimiser before
        for _ in range(epochs):
            scheduler.step()
    return [group["lr"] for group in scheduler.optimizer.param_groups]
