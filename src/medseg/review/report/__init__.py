"""The report: one self-contained HTML file on runs, evaluations and predictions."""

from __future__ import annotations

from medseg.review.report.page import write_report

__all__ = ["write_report"]
