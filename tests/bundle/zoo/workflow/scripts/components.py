"""What the workflow is made of."""

import torch


class CellLoss(torch.nn.Module):
    """No arguments."""
