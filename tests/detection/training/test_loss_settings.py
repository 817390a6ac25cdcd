"""Registries of losses: one added from outside is a valid setting, initializes heads and is trained with."""

from pathlib import Path

import pytest
import torch
from torch import nn

from data.datasets.records import Dataset
from detection.models.pelee import Pelee, PeleeConfig
from detection.training.loss import LossInputs, init_heads
from detection.training.loss_settings import CLASSIFICATION_LOSSES, Component
from detection.training.settings import resolve_settings
from detection.training.train import train
from tests.support import ddp_process


class PriorMeanLoss:
    """Cross-entropy over all priors, without hard negatives."""

    calls = 0

    def __call__(self, inputs: LossInputs) -> torch.Tensor:
        PriorMeanLoss.calls += 1
        return -inputs.log_probabilities.gather(-1, inputs.classes[..., None]).sum()

    def init_head(self, head: nn.Module) -> None:
        with torch.no_grad():
            head.class_bias[:, 0] = 3.0  # type: ignore[index,operator]


PRIOR_MEAN_LOSS = PriorMeanLoss()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("quiet_lightning")
def test_loss_from_outside_trains(
    train_set: Dataset, val_set: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CLASSIFICATION_LOSSES, "prior-mean", Component(f"{__name__}:PRIOR_MEAN_LOSS"))
    settings = resolve_settings(
        None, {"class_loss": "prior-mean", "max_steps": 2, "batch_size": 4, "input_size": 64, "precision": "fp32"}
    )
    network = Pelee(PeleeConfig(num_classes=3, input_size=64, backbone=ddp_process.BACKBONE))  # type: ignore[arg-type]
    init_heads(network.heads, settings)
    assert all((head.class_bias[:, 0] == 3).all() for head in network.heads)  # type: ignore[index,operator,union-attr]
    train(network, settings, train_set, val_set, tmp_path, accelerator="cpu", progress=False)
    assert PriorMeanLoss.calls == 2
