"""Plot of runs: panels, colors of the runs, moving average."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from pelee.runs.plot import moving_average, plot_runs
from pelee.runs.run import open_run


@pytest.mark.slow
def test_plot_runs_draws_a_row_of_panels_for_each_task(
    scratch_run: Path, tuned_run: Path, running_run: Path, tmp_path: Path
) -> None:
    runs = [open_run(folder) for folder in (scratch_run, tuned_run, running_run)]
    plot_runs(runs[:2], ["scratch", "tuned"], tmp_path / "one.png")
    plot_runs(runs, ["scratch", "tuned", "$boxes"], tmp_path / "two.png")
    one, two = (cv2.imread(str(tmp_path / name))[:, :, ::-1].astype(int) for name in ("one.png", "two.png"))
    assert two.shape[0] > 1.6 * one.shape[0] and one.shape[1] == two.shape[1]
    half = one.shape[1] // 2
    for color in ((31, 119, 180), (255, 127, 14)):  # of the first and the second run
        drawn = np.abs(one - color).max(2) < 30
        assert drawn[:, :half].sum() > 100 and drawn[:, half:].sum() > 100


def test_moving_average_keeps_a_line_and_reduces_noise() -> None:
    line = [float(value) for value in range(100)]
    assert moving_average(line)[5:-5] == pytest.approx(line[5:-5])
    noise = np.random.default_rng(0).normal(size=1000)
    assert np.std(moving_average(noise.tolist())) < 0.2 and len(moving_average([1.0])) == 1
