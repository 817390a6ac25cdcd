"""Loggers of a training run: CSV and TensorBoard files beside the checkpoints, and MLflow on request."""

import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only

from data.command_line import missing_part
from data.errors import SettingsError


def build_loggers(output: Path, settings: Mapping[str, Any], mlflow: str | None) -> list[Logger]:
    """Return the loggers of a run: metrics go to `output/logs`, `settings` to MLflow as the run's parameters.

    Raises:
        SettingsError: `mlflow` is given, but MLflow is not installed or does not answer at that URI.
    """
    keep_metrics(output / "logs" / "metrics.csv")
    loggers: list[Logger] = [kind(output, name="", version="logs") for kind in (CSVLogger, TensorBoardLogger)]
    return [*loggers, mlflow_logger(mlflow, output.resolve().name, settings)] if mlflow else loggers


@rank_zero_only
def keep_metrics(file: Path) -> None:
    """Rename the metrics of an earlier start to metrics-1.csv and so on, because Lightning deletes an existing file."""
    if file.is_file():
        number = 1
        while (kept := file.with_stem(f"{file.stem}-{number}")).exists():
            number += 1
        file.rename(kept)


def mlflow_logger(uri: str, name: str, settings: Mapping[str, Any]) -> MLFlowLogger:
    """Return the logger of a new MLflow run `name` in the experiment "pelee"; each start of a training is a run.

    Raises:
        SettingsError: MLflow is not installed, or does not answer at that URI.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # no usage reports
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")  # by default a wrong address is retried for minutes
    if importlib.util.find_spec("mlflow") is None:
        raise SettingsError(missing_part("mlflow"))
    try:
        logger = MLFlowLogger("pelee", run_name=name, tracking_uri=uri)
        logger.log_hyperparams(dict(settings))
    except Exception as error:  # the exceptions depend on the kind of store
        raise SettingsError(f"no MLflow at {uri}: {' '.join(str(error).split())}") from None
    return logger
