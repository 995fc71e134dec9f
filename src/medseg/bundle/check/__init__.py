"""The check of a bundle's configuration: by text alone in a second, then by building what text cannot decide."""

from medseg.bundle.check.findings import Finding, as_json, errors, refuse
from medseg.bundle.check.static import check_static

__all__ = ["Finding", "as_json", "check_static", "errors", "refuse"]
