"""Transforms that MONAI lacks; the chains themselves are declared in the bundles."""

from medseg.transforms.check import CheckCased

__all__ = ["CheckCased"]
