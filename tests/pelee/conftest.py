"""Fixtures that tests of several folders of tests/pelee share."""

from tests.support.tiny_search import launched, two_color_folders
from tests.support.training_runs import running_run, scratch_run, tuned_run

__all__ = ["launched", "running_run", "scratch_run", "tuned_run", "two_color_folders"]
