"""An HTML page about a fit that works offline. Needs the extra `viz` (plotly)."""

from tfdpm.report.write import write_report

__all__ = ["write_report"]
