"""Comparison of runs: settings that differ, names that distinguish."""

from pathlib import Path

from pelee.runs.compare import differing_settings, distinguishing_names, flatten
from pelee.runs.run import find_runs, open_run
from tests.support.training_runs import CLASSIFIER, make_run


def test_differing_settings_are_those_that_differ_between_runs_of_a_task(
    scratch_run: Path, tuned_run: Path, running_run: Path
) -> None:
    runs = [open_run(folder) for folder in (scratch_run, tuned_run, running_run)]
    assert differing_settings(runs) == {
        ("classification", "lr"),
        ("classification", "started_from"),
    }  # not `workers`
    assert differing_settings(runs[:1]) == differing_settings(runs[1:]) == set()


def test_runs_below_a_folder_get_names_that_distinguish_them(
    scratch_run: Path, tuned_run: Path, tmp_path: Path
) -> None:
    assert find_runs(scratch_run) == [scratch_run]
    assert find_runs(tmp_path) == find_runs(tmp_path / "runs") == [scratch_run, tuned_run]
    other = make_run(tmp_path / "more" / "scratch", CLASSIFIER)
    assert distinguishing_names([open_run(one) for one in (scratch_run, tuned_run, other)]) == [
        "runs/scratch",
        "tuned",
        "more/scratch",
    ]


def test_flatten_joins_nested_keys_by_dots() -> None:
    assert flatten({"a": {"b": 1, "c": [2]}, "d": None}) == {"a.b": 1, "a.c": [2], "d": None}
