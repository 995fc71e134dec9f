"""Several trained copies of one network as one network."""

from __future__ import annotations

from collections.abc import Sequence

import torch


class Ensemble(torch.nn.Module):
    """The mean of its members' logits.

    Parameters
    ----------
    members
        Networks of one shape of output, e.g. of the folds of a cross-validation.
    """

    def __init__(self, members: Sequence[torch.nn.Module]) -> None:
        super().__init__()
        self.members = torch.nn.ModuleList(members)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits ``(B, C, X, Y[, Z])`` in float32 for inputs of the same sizes."""
        total: torch.Tensor | None = None
        for member in self.members:
            logits = member(x).float()
            total = logits if total is None else total.add_(logits)
        assert total is not None, "an ensemble has members"
        return total / len(self.members)
