"""The report: one self-contained HTML file on runs, evaluations and predictions."""

from __future__ import annotations

from medseg.review.report.page import write_report
from medseg.review.report.training import save_plots

__all__ = ["save_plots", "write_report"]
