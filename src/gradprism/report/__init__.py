"""A comparison as one HTML file that opens offline: header, verdict, curves, effects, lengths, examples."""

from gradprism.report.api import WrittenReport, write_report

__all__ = ["WrittenReport", "write_report"]
