"""How good a result is: metrics, comparison with the classical answers, report."""

from sciddiff.evaluation.calibrate import calibrate
from sciddiff.evaluation.compare import Comparison, Scores, compare, degrade_image, judge
from sciddiff.evaluation.evaluate import Evaluation, evaluate
from sciddiff.evaluation.report import write_report

__all__ = [
    "Comparison",
    "Evaluation",
    "Scores",
    "calibrate",
    "compare",
    "degrade_image",
    "evaluate",
    "judge",
    "write_report",
]
