"""Networks that MONAI lacks: the classic 2-D U-Net; and a table of any network's layers."""

from __future__ import annotations

from medseg.networks.ensemble import Ensemble
from medseg.networks.layers import describe
from medseg.networks.unet2d import UNet2d

__all__ = ["Ensemble", "UNet2d", "describe"]
