"""A comparison as one HTML file that opens offline: header, verdict, curves, effects, lengths, examples."""

from gradprism.report.report import ReportFacts, write_report

__all__ = ["ReportFacts", "write_report"]
