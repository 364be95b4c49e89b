"""An HTML page about a fit that works offline. Needs the extra `viz` (plotly)."""

from tfdpm.report.write import check_extra, write_report

__all__ = ["check_extra", "write_report"]
