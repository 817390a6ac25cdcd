"""Limits of a verification, and the order of comparison and measurement."""

import pytest

from data.errors import WeightsError
from pelee.export.verification import Limit, rounded, verify_export

AGREEMENT = Limit("agreement", "agreement {}", "least", 0.9)
LOSS = Limit("loss", "mAP {} lower", "most", 0.5, digits=2)


def test_limits_include_themselves_and_exclude_nan() -> None:
    assert AGREEMENT.problem({"agreement": 0.9}) is None and LOSS.problem({"loss": 0.5}) is None
    assert AGREEMENT.problem({"agreement": 0.8999}) == "agreement 0.900, expected at least 0.9"
    assert LOSS.problem({"loss": 0.75}) == "mAP 0.75 lower, expected at most 0.5"
    for limit in (AGREEMENT, LOSS):
        assert limit.problem(dict.fromkeys(("agreement", "loss"), float("nan")))


def test_report_of_both_parts() -> None:
    report = {"agreement": 1.0}
    assert verify_export("detector", report, [AGREEMENT], None, LOSS) == report
    assert verify_export("detector", report, [AGREEMENT], lambda: {"loss": 0.1}, LOSS) == report | {"loss": 0.1}


def test_accuracy_is_not_measured_after_a_failed_comparison() -> None:
    second = Limit("agreement", "other {}", "least", 0.95)
    with pytest.raises(
        WeightsError, match=r"the same detector as its source: agreement 0\.500, .*; other 0\.500, .*; no"
    ):
        verify_export("detector", {"agreement": 0.5}, [AGREEMENT, second], lambda: pytest.fail("measured"), LOSS)
    with pytest.raises(WeightsError, match=r"the same classifier as its source: mAP 2\.00 lower"):
        verify_export("classifier", {"agreement": 1.0}, [AGREEMENT], lambda: {"loss": 2.0}, LOSS)


def test_values_are_rounded_to_five_digits() -> None:
    assert rounded(0.123456789) == 0.12346
