"""One experiment's report in every format. The scorecard is made once and given to each."""

from service.comparison.report.data import report_json
from service.comparison.report.html import report_html
from service.comparison.report.text import report_csv, report_latex, report_markdown

__all__ = ["report_csv", "report_html", "report_json", "report_latex", "report_markdown"]
