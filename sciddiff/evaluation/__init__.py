"""How good a result is: metrics, comparison with the classical answers, report."""

from sciddiff.evaluation.calibrate import calibrate
from sciddiff.evaluation.compare import Comparison, Scores, compare, compare_known, judge
from sciddiff.evaluation.evaluate import Evaluation, evaluate
from sciddiff.evaluation.known import Known, known_files, known_image, known_scene
from sciddiff.evaluation.report import write_report

__all__ = [
    "Comparison",
    "Evaluation",
    "Known",
    "Scores",
    "calibrate",
    "compare",
    "compare_known",
    "evaluate",
    "judge",
    "known_files",
    "known_image",
    "known_scene",
    "write_report",
]
