"""Kinds of findings."""

from data.inspection.findings import FINDING_KINDS, NOTES


def test_notes_are_kinds() -> None:
    assert set(FINDING_KINDS) > NOTES
