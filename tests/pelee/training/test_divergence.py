"""Divergence: a training that has lost its way stops, and the last good checkpoint stays."""

from pathlib import Path
from typing import Any

import pytest
import torch

from pelee.classification.training.lightning_module import ClassifierModule
from pelee.training.divergence import DivergedError, is_finite
from tests.support.tiny_training import run_small, small_sets, small_settings

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("quiet_lightning")]


def scale_loss(monkeypatch: pytest.MonkeyPatch, factor: float, from_step: int, until: int = 1000) -> None:
    """Multiply the loss of the steps `from_step` to `until`, 0-based."""
    original = ClassifierModule.training_step

    def step(self: ClassifierModule, batch: Any, batch_idx: int) -> Any:
        loss = original(self, batch, batch_idx)
        return loss * factor if from_step <= self.global_step < until else loss

    monkeypatch.setattr(ClassifierModule, "training_step", step)


@pytest.mark.slow
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_before_its_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    scale_loss(monkeypatch, value, 4)
    with pytest.raises(DivergedError, match=r"the loss is not finite at step 5; take a lower --lr than 0\.01"):
        run_small(small_sets(tmp_path / "sets"), tmp_path / "run", small_settings(checkpoint_every=1))
    last = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)
    assert last["global_step"] in (3, 4)
    assert all(tensor.isfinite().all() for tensor in last["state_dict"].values())


@pytest.mark.slow
def test_a_loss_that_explodes_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scale_loss(monkeypatch, 60, 3)
    with pytest.raises(DivergedError, match=r"the loss explodes: it is above .* 30 times that of the first step"):
        run_small(small_sets(tmp_path / "sets"), tmp_path / "run", small_settings(lr=1e-9, epochs=20))


@pytest.mark.slow
def test_a_single_spike_is_no_explosion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scale_loss(monkeypatch, 1e4, 3, 5)
    module = run_small(small_sets(tmp_path / "sets"), tmp_path / "run", small_settings(lr=1e-9))
    assert module.global_step == 12


@pytest.mark.slow
def test_weights_that_are_not_finite_are_never_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = ClassifierModule.training_step

    def step(self: ClassifierModule, batch: Any, batch_idx: int) -> Any:
        loss = original(self, batch, batch_idx)
        if self.global_step == 5:  # the last of an epoch, after which a checkpoint is due
            self.network.get_parameter("head.weight").register_hook(lambda gradient: gradient * float("nan"))
        return loss

    monkeypatch.setattr(ClassifierModule, "training_step", step)
    with pytest.raises(DivergedError, match="not finite after step 6"):
        run_small(small_sets(tmp_path / "sets"), tmp_path / "run", small_settings())
    last = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)
    assert last["global_step"] == 3


@pytest.mark.slow
def test_weights_of_an_exploded_loss_are_never_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint is due after step 6, before the moving average of the loss says so."""
    scale_loss(monkeypatch, 1e4, 5)
    with pytest.raises(DivergedError, match=r"100 times that of the first step, and a checkpoint is due; .*is kept"):
        run_small(small_sets(tmp_path / "sets"), tmp_path / "run", small_settings(lr=1e-9))
    assert torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)["global_step"] == 3


def test_finite_state() -> None:
    network = torch.nn.BatchNorm1d(2)
    assert is_finite(network)
    assert network.running_mean is not None
    network.running_mean[0] = float("inf")
    assert not is_finite(network)
