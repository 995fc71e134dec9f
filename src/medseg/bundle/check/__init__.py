"""The check of a bundle's configuration: by text alone in a second, then by building what text cannot decide."""

from medseg.bundle.check.findings import Finding, errors, refuse
from medseg.bundle.check.static import check_static
from medseg.bundle.check.whole import check_before_data, check_before_run, check_bundle

__all__ = ["Finding", "check_before_data", "check_before_run", "check_bundle", "check_static", "errors", "refuse"]
