"""Loggers: metrics of earlier starts are kept; MLflow gets settings and scores."""

import importlib.util
from pathlib import Path

import pytest

from data.errors import SettingsError
from pelee.runs.loggers import keep_metrics, mlflow_logger
from tests.support.tiny_training import run_small, small_sets, small_settings


@pytest.mark.slow
def test_a_run_s_settings_and_scores_arrive_in_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # its database takes seconds to make
    uri = (tmp_path / "mlruns").as_uri()
    sets = small_sets(tmp_path / "sets")
    module = run_small(sets, tmp_path / "mine", small_settings(epochs=2, mlflow=uri))
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("pelee")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_name == "mine" and run.info.status == "FINISHED"
    assert run.data.params["lr"] == "0.01" and run.data.params["schedule"] == "cosine"
    scores = client.get_metric_history(run.info.run_id, "val/top1")
    assert len(scores) >= 2 and 0 <= scores[-1].value <= 1
    assert (tmp_path / "mine" / "logs" / "metrics.csv").is_file() and module.trainer.global_step == 6


def test_without_mlflow_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"mlflow is not installed.*pelee\[mlflow\]"):
        mlflow_logger("sqlite:///runs.db", "mine", {})


@pytest.mark.slow
@pytest.mark.parametrize("uri", ["nonsense://here", "http://127.0.0.1:1"])
def test_where_no_mlflow_answers_is_one_line(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(SettingsError, match=f"no MLflow at {uri}") as error:
        mlflow_logger(uri, "mine", {"lr": 0.1})
    assert "\n" not in str(error.value)


def test_metrics_of_earlier_starts_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "metrics.csv"
    keep_metrics(file)  # nothing there yet
    for number in range(3):
        file.write_text(str(number))
        keep_metrics(file)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "metrics-1.csv": "0",
        "metrics-2.csv": "1",
        "metrics-3.csv": "2",
    }
