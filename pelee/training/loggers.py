"""Where a training writes its numbers: a CSV file and TensorBoard's beside the checkpoints, and MLflow if asked."""

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
    """Loggers of a run: `output/logs` holds the metrics; `settings` go to MLflow as the run's parameters.

    Raises:
        SettingsError: MLflow is asked for and not installed, or does not answer at the URI `mlflow`.
    """
    keep_metrics(output / "logs" / "metrics.csv")
    loggers: list[Logger] = [kind(output, name="", version="logs") for kind in (CSVLogger, TensorBoardLogger)]
    return [*loggers, mlflow_logger(mlflow, output.resolve().name, settings)] if mlflow else loggers


@rank_zero_only
def keep_metrics(file: Path) -> None:
    """Put the metrics of an earlier start aside, as metrics-1.csv and so on: Lightning deletes what it finds."""
    if file.is_file():
        number = 1
        while (kept := file.with_stem(f"{file.stem}-{number}")).exists():
            number += 1
        file.rename(kept)


def mlflow_logger(uri: str, name: str, settings: Mapping[str, Any]) -> MLFlowLogger:
    """A new run called `name` in the experiment "pelee": every start of a training is one, as it is a CSV file.

    Raises:
        SettingsError: MLflow is not installed, or does not answer at that URI.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # nothing is reported home unasked
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")  # a mistyped address would be tried for minutes
    if importlib.util.find_spec("mlflow") is None:
        raise SettingsError(missing_part("mlflow"))
    try:
        logger = MLFlowLogger("pelee", run_name=name, tracking_uri=uri)
        logger.log_hyperparams(dict(settings))
    except Exception as error:  # its stores raise whatever they are made of
        raise SettingsError(f"no MLflow at {uri}: {' '.join(str(error).split())}") from None
    return logger
