"""Fixtures that tests of several folders of tests/pelee share."""

from tests.support.training_runs import running_run, scratch_run, tuned_run

__all__ = ["running_run", "scratch_run", "tuned_run"]
