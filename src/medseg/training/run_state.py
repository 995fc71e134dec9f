"""What a resumed run needs besides weights and optimiser: random states, and what handlers remember."""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

logger = logging.getLogger(__name__)


def random_states() -> dict[str, Any]:
    """The states of the random numbers of Python, NumPy and torch, as a checkpoint holds them.

    Augmentation is drawn from (seed, epoch, case) alone and needs none of them; dropout does, and so may what a user
    adds.
    """
    states = {"torch": torch.get_rng_state(), "python": plain(random.getstate())}
    states["numpy"] = plain(np.random.get_state())  # noqa: NPY002 (the state that others' code draws from)
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def restore_random_states(states: Mapping[str, Any]) -> None:
    """Go on with the random numbers behind those of `random_states`; one that is not in it stays as it is."""
    if "torch" in states:
        torch.set_rng_state(states["torch"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
    if "python" in states:
        version, numbers, gauss = states["python"]
        random.setstate((version, tuple(numbers), gauss))
    if "numpy" in states:
        name, numbers, *rest = states["numpy"]
        np.random.set_state((name, np.array(numbers, dtype=np.uint32), *rest))  # noqa: NPY002 (as above)


def plain(value: Any) -> Any:
    """`value` of nothing but what a checkpoint may hold: tensors, numbers, text, lists, dictionaries.

    Raises
    ------
    TypeError
        It holds anything else.
    """
    if value is None or type(value) in (bool, int, float, str, Counter):  # Counter: the milestones of MultiStepLR
        return value
    if isinstance(value, torch.Tensor):
        return value.detach()
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    if isinstance(value, Mapping):
        return {plain(key): plain(each) for key, each in value.items()}
    if isinstance(value, Sequence):
        return [plain(each) for each in value]
    raise TypeError(f"a {type(value).__name__}")


def handler_states(engines: Sequence[Any]) -> dict[str, Any]:
    """What the handlers of `engines` remember, by their names: those of ignite and MONAI, and a user's own.

    ignite's EarlyStopping counts epochs without gain, its schedulers of parameters (also the one that warms up the
    momentum of an EMAHandler) count events; each has a `state_dict`.
    """
    return {name: plain_parts(name, handler.state_dict()) for name, handler in _handlers(engines)}


def plain_parts(name: str, state: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of a state that a checkpoint may hold; functions in it come from the configuration again."""
    parts = {}
    for key, value in state.items():
        try:
            parts[key] = plain(value)
        except TypeError as error:
            if not callable(value):
                logger.warning("%s: %s is not in the checkpoint, which takes no %s", name, key, error)
    return parts


def restore_handler_states(engines: Sequence[Any], states: Mapping[str, Any]) -> None:
    """Give back to the handlers of `engines` what `handler_states` took from the same ones."""
    handlers = dict(_handlers(engines))
    for name in sorted(handlers.keys() ^ states.keys()):
        logger.warning("%s: only in one of the run and its checkpoint, so it does not go on where it was", name)
    for name in handlers.keys() & states.keys():
        handlers[name].load_state_dict({**handlers[name].state_dict(), **states[name]})


def _handlers(engines: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """Those with a state, each once, in the order in which they were attached.

    ignite keeps handlers in a table without a public view of it: event -> (function, positional, named arguments).
    """
    seen: dict[int, Any] = {}
    for engine in engines:
        for entries in getattr(engine, "_event_handlers", {}).values():
            for entry in entries:
                filtered = getattr(entry[0], "_parent", None)  # Events.X(every=2): a function round the handler
                function = entry[0] if filtered is None else filtered()
                owner = getattr(function, "__self__", None) or function
                owner = getattr(owner, "_handler", None) or owner  # MONAI's EarlyStopHandler wraps ignite's
                if hasattr(owner, "state_dict") and hasattr(owner, "load_state_dict") and owner not in engines:
                    seen.setdefault(id(owner), owner)
    for i, owner in enumerate(seen.values()):
        yield f"{i}_{type(owner).__name__}", owner
