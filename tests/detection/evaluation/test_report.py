"""Text report of an evaluation."""

from pathlib import Path

from detection.evaluation.evaluate import evaluate
from detection.evaluation.report import report
from tests.support.toy_split import dataset, detect_by_number


def test_the_report_has_a_line_a_class(tmp_path: Path) -> None:
    text = report(evaluate(detect_by_number, dataset(tmp_path)))
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.strip()}
    assert rows["dog"] == ["4", "100.0", "100.0", "100.0"]
    assert rows["[b]cat"] == ["3", "100.0", "100.0", "100.0"]
    assert rows["cow"] == ["0", "-", "-", "-"]
    assert rows["mean"] == ["7", "100.0", "100.0", "100.0"]
    assert "mAP 100.0 (11-point), 100.0 (all-point)" in text
    assert "left out of the means: cow" in text
    assert max(len(line) for line in text.splitlines()) <= 100
