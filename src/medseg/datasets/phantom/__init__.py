"""Thorax phantoms from analytic shapes: CT volumes and chest X-rays with exact truth, drawn from a seed."""

from __future__ import annotations

from medseg.datasets.phantom.ct import ct_phantom
from medseg.datasets.phantom.export import write_phantoms
from medseg.datasets.phantom.xray import xray_phantom

__all__ = ["ct_phantom", "write_phantoms", "xray_phantom"]
