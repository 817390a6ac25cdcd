"""Nearest-name hints."""

import pytest

from data.errors import did_you_mean, nearest_name

NAMES = ["Batch_Size", "lr", "epochs"]


@pytest.mark.parametrize(
    ("name", "hint"),
    [("batchsize", "did you mean 'Batch_Size'?"), ("EPOCH", "did you mean 'epochs'?"), ("warmup", ""), ("", "")],
)
def test_hints_ignore_case(name: str, hint: str) -> None:
    assert did_you_mean(name, NAMES) == hint


def test_without_a_cutoff_any_name_is_near() -> None:
    assert nearest_name("warmup", NAMES) is None
    assert nearest_name("warmup", NAMES, cutoff=0.0) in NAMES
    assert nearest_name("warmup", [], cutoff=0.0) is None
