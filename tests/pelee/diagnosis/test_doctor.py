import json
from pathlib import Path

import pytest

from pelee.diagnosis.doctor import CHECKS, diagnose
from tests.test_imports import HEAVY, without


def test_every_check_gives_one_line_and_json():
    facts = list(diagnose())
    assert [fact.name for fact in facts] == list(CHECKS)
    for fact in facts:
        assert fact.summary and "\n" not in fact.summary
        assert not fact.summary.startswith("failed"), fact
        json.dumps(fact.details, allow_nan=False)


def test_a_check_that_fails_is_a_line_of_the_report():
    def broken():
        raise RuntimeError("no such device\nat line 7")

    facts = list(diagnose({"first": broken, "second": lambda: ("fine", {})}))
    assert facts[0] == ("first", "failed: RuntimeError: no such device", {"error": "no such device"})
    assert facts[1] == ("second", "fine", {})


def test_the_home_folder_is_not_published(monkeypatch):
    monkeypatch.setattr(Path, "home", lambda: Path("/home/ada"))
    (fact,) = diagnose({"x": lambda: ("in /home/ada/x", {"paths": ["/home/ada/y", 3], "more": {"z": "/home/ada"}})})
    assert fact == ("x", "in ~/x", {"paths": ["~/y", 3], "more": {"z": "~"}})


@pytest.mark.slow
def test_missing_parts_are_named_and_heavy_ones_are_not_imported():
    absent = ("av", "openvino", "cv2", "torch", "pydantic", "supervision")
    done = without(absent, "from pelee.diagnosis.doctor import diagnose\nfor fact in diagnose(): print(fact[:2])\n")
    assert done.returncode == 0, done.stderr
    assert "('openvino', 'not installed')" in done.stdout and "('codecs', 'not installed: av')" in done.stdout
    assert "('models', 'not installed: cv2')" in done.stdout
    assert "failed" not in done.stdout
    done = without(
        (), f"from pelee.diagnosis.doctor import diagnose\nlist(diagnose())\nprint(set({HEAVY}) & set(sys.modules))"
    )
    assert done.stdout == "set()\n", done.stderr
