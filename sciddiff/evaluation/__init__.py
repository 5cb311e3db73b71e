"""How good a result is: metrics, comparison with the classical answers, report."""

from sciddiff.evaluation.compare import Comparison, Scores, compare, degrade_image, judge
from sciddiff.evaluation.report import write_report

__all__ = ["Comparison", "Scores", "compare", "degrade_image", "judge", "write_report"]
