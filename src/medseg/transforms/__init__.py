"""Transforms that MONAI lacks; the chains themselves are declared in the bundles."""

from medseg.transforms.check import CheckCased
from medseg.transforms.frame import RandFramed
from medseg.transforms.mirror import RandMirrorLabelsd
from medseg.transforms.prompt import BoxPromptd, RandBoxPromptd
from medseg.transforms.resample import ResampleToSpacingd
from medseg.transforms.window import WindowIntensityd

__all__ = [
    "BoxPromptd",
    "CheckCased",
    "RandBoxPromptd",
    "RandFramed",
    "RandMirrorLabelsd",
    "ResampleToSpacingd",
    "WindowIntensityd",
]
