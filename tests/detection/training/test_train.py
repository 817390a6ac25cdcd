"""Training of a detector: errors before it, and pretrained tensors."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data.datasets.records import Dataset
from data.datasets.registry import open_dataset
from data.errors import DatasetError, SettingsError
from detection.models.pelee import Pelee, PeleeConfig
from detection.models.registry import build
from detection.training.settings import TrainSettings, resolve_settings
from detection.training.train import train
from pelee.runs.processes import Processes
from tests.support import ddp_process

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("quiet_lightning")]


def settings(**changes: Any) -> TrainSettings:
    """Two epochs of four steps on the eight images."""
    defaults: dict[str, Any] = {"epochs": 2, "batch_size": 2, "input_size": 64, "precision": "fp32", "lr": 0.003}
    return TrainSettings(**{**defaults, **changes})


def small_network() -> Pelee:
    torch.manual_seed(0)
    return Pelee(PeleeConfig(num_classes=3, input_size=64, backbone=ddp_process.BACKBONE))


@pytest.mark.slow
def test_errors_before_training(train_set: Dataset, val_set: Dataset, tmp_path: Path) -> None:
    def refused(match: str, kind: type[Exception], own: TrainSettings, *sets: Dataset, **options: Any) -> None:
        first, second = sets
        with pytest.raises(kind, match=match) as raised:
            train(small_network(), own, first, second, tmp_path, accelerator="cpu", progress=False, **options)
        assert "\n" not in str(raised.value)
        assert not list(tmp_path.iterdir())

    empty = dataclasses.replace(train_set, records=[])
    bare = dataclasses.replace(train_set, records=train_set.records[7:])  # one image without objects
    hard = [dataclasses.replace(record, difficult=np.ones_like(record.difficult)) for record in val_set.records]
    others = dataclasses.replace(val_set, class_names=("disc", "ring", "star"))
    refused("split trainval of voc has 0 images", DatasetError, settings(), empty, val_set)
    refused("split trainval of voc has 1 images and no objects", DatasetError, settings(), bare, val_set)
    refused("difficult ones", DatasetError, settings(), train_set, dataclasses.replace(val_set, records=hard))
    refused("split val has other classes than trainval", DatasetError, settings(), train_set, others)
    refused(
        "batch of 6 .* by 4 processes",
        SettingsError,
        settings(batch_size=6),
        train_set,
        val_set,
        processes=Processes(4),
    )
    refused("batch norm needs 2", SettingsError, settings(batch_size=1), train_set, val_set)
    refused("batch norm needs 2", SettingsError, settings(batch_size=2), train_set, val_set, processes=Processes(2))
    one = dataclasses.replace(val_set, records=val_set.records[:1])
    refused("fewer images than the 2", SettingsError, settings(batch_size=4), train_set, one, processes=Processes(2))
    refused("nothing to resume: .*last.ckpt does not exist", SettingsError, settings(), train_set, val_set, resume=True)


@pytest.mark.slow
def test_frozen_tensors_stay_and_the_new_ones_train(voc_root: Path, tmp_path: Path) -> None:
    """The backbone is pretrained and frozen; its batch norms keep their statistics.

    Every new weight moves, by weight decay at least. Biases start at 0, so that they move by their gradient only: a
    head on a map where no object was matched, nor a hard negative drawn, has none.
    """
    dataset = open_dataset("voc", voc_root, "val")
    settings = resolve_settings(
        None,
        {"freeze": True, "input_size": 64, "batch_size": 4, "max_steps": 1, "precision": "fp32", "lr": 0.1},
    )
    torch.manual_seed(0)
    network = build(settings.network(len(dataset.class_names)))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    taken = [name for name in before if name.startswith("backbone.")]
    with_gradient: set[str] = set()
    for name, parameter in network.named_parameters():
        parameter.register_hook(lambda gradient, name=name: with_gradient.add(name) if gradient.any() else None)
    module = train(network, settings, dataset, dataset, tmp_path, taken=taken, accelerator="cpu", progress=False)
    after = module.network.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in taken)
    new = {name for name, _ in network.named_parameters()}.difference(taken)
    moved = {name for name in new if not torch.equal(after[name], before[name])}
    assert with_gradient <= new and "heads.1.regress.bias" in with_gradient
    assert moved == {name for name in new if name.endswith(".weight")} | with_gradient
