"""Transforms that MONAI lacks; the chains themselves are declared in the bundles."""

from medseg.transforms.check import CheckCased
from medseg.transforms.frame import RandFramed
from medseg.transforms.mirror import RandMirrorLabelsd
from medseg.transforms.resample import ResampleToSpacingd
from medseg.transforms.window import WindowIntensityd

__all__ = ["CheckCased", "RandFramed", "RandMirrorLabelsd", "ResampleToSpacingd", "WindowIntensityd"]
