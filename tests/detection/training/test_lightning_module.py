"""Training: it learns, it resumes as if never stopped, it is the same on several processes, it loses nothing."""

import dataclasses
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import detection.training.dataset
import detection.training.lightning_module
import pelee.training.callbacks
from data.datasets.records import Dataset
from data.datasets.registry import open_dataset
from data.errors import SettingsError
from data.images.preprocess import preprocess
from detection.evaluation.f1_threshold import best_f1
from detection.models.pelee import Pelee, PeleeConfig
from detection.training.dataset import TrainDataset, collate
from detection.training.lightning_module import DetectorModule
from detection.training.sampler import ResumableBatchSampler
from detection.training.settings import TrainSettings
from detection.training.train import train
from tests.support import ddp_process
from tests.support.run_files import load, measure, read_csv

# Lightning's advice on loaders, log intervals and full folders is not what is tested.
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("quiet_lightning")]


class Killed(Exception):
    """What stops a run in the midst of a step."""


def settings(**changes: Any) -> TrainSettings:
    """Two epochs of four steps on the eight images."""
    defaults: dict[str, Any] = {"epochs": 2, "batch_size": 2, "input_size": 64, "precision": "fp32", "lr": 0.003}
    return TrainSettings(**{**defaults, **changes})


def small_network() -> Pelee:
    torch.manual_seed(0)
    return Pelee(PeleeConfig(num_classes=3, input_size=64, backbone=ddp_process.BACKBONE))


def run(
    own_settings: TrainSettings, train_set: Dataset, val_set: Dataset, output: Path, resume: bool = False
) -> DetectorModule:
    return train(
        small_network(), own_settings, train_set, val_set, output, resume=resume, accelerator="cpu", progress=False
    )


def assert_same(one: Any, other: Any, place: str = "") -> None:
    """Hold two nested states against each other, every tensor to 1e-6."""
    if isinstance(one, dict):
        assert one.keys() == other.keys(), place
        for key in one:
            assert_same(one[key], other[key], f"{place}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), place
        for number, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_same(a, b, f"{place}[{number}]")
    elif isinstance(one, torch.Tensor):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6, msg=lambda text: f"{place}: {text}")
    elif isinstance(one, float):
        assert one == pytest.approx(other, rel=1e-9), place
    else:
        assert one == other, place


# It learns


class Plain:
    """In the place of the augmentation: the whole image, warped."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(
        self, image: np.ndarray, boxes: np.ndarray, labels: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        height, width = image.shape[:2]
        return preprocess(image, self.size), boxes / np.array([width, height] * 2, np.float32), labels


@pytest.mark.slow
def test_overfits_four_images(train_set: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = []
    original = DetectorModule.training_step

    def step(self: DetectorModule, *args: Any) -> torch.Tensor:
        loss = original(self, *args)
        losses.append(float(loss))
        return loss

    monkeypatch.setattr(DetectorModule, "training_step", step)
    monkeypatch.setattr(detection.training.dataset, "SSDAugmentation", Plain)
    four = dataclasses.replace(train_set, records=train_set.records[:4])
    often = dataclasses.replace(train_set, records=train_set.records[:4] * 10)  # in epochs of ten steps
    own = settings(epochs=5, batch_size=4, input_size=96, optimizer="adamw", lr=0.002, warmup_steps=5, validate_every=5)
    trained = run(own, often, four, tmp_path)
    assert len(losses) == 50
    assert np.mean(losses[-5:]) < losses[0] / 5  # about a fifteenth, with every seed that was tried
    # Boxes and labels came through encoding, decoding and the way back to the images' own pixels.
    assert trained.best_score > 0.9
    assert trained.result is not None and best_f1(trained.result).f1 > 0.9


# It goes on where it stopped


RESUMABLE = settings(ema_decay=0.9, checkpoint_every=2, warmup_steps=2, patience=5, multi_scale=0.5)


@pytest.fixture(scope="module")
def whole_run(voc_root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, DetectorModule]:
    """The output of a run that nothing stopped, and what it gave back."""
    folder = tmp_path_factory.mktemp("whole")
    train_set, val_set = (open_dataset("voc", voc_root, split) for split in ("trainval", "val"))
    return folder, run(RESUMABLE, train_set, val_set, folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kill_at", "saved_at", "workers"),
    [
        (2, 2, 0),  # right after a checkpoint in the first epoch
        (3, 2, 0),  # a step later, which is taken again
        (4, 4, 0),  # between the epochs
        (7, 6, 1),  # in the second epoch, with images from another process, which reads ahead
    ],
)
def test_a_killed_run_resumes_as_if_it_had_not_been(
    whole_run: tuple[Path, DetectorModule],
    train_set: Dataset,
    val_set: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kill_at: int,
    saved_at: int,
    workers: int,
) -> None:
    own = dataclasses.replace(RESUMABLE, workers=workers)
    original = DetectorModule.training_step

    def step(self: DetectorModule, *args: Any) -> torch.Tensor:
        if self.trainer.global_step == kill_at:
            raise Killed
        return original(self, *args)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(DetectorModule, "training_step", step)
        run(own, train_set, val_set, tmp_path)
    assert load(tmp_path / "last.ckpt")["global_step"] == saved_at

    resumed = run(own, train_set, val_set, tmp_path, resume=True)
    folder, whole = whole_run
    for name in ("last.ckpt", "best.ckpt"):
        one, other = load(folder / name), load(tmp_path / name)
        assert one["global_step"] == other["global_step"]
        # the average, the weights themselves, momentum, and the rates of both groups
        for part in ("state_dict", "current_model_state", "averaging_state", "optimizer_states", "lr_schedulers"):
            assert_same(one[part], other[part], f"{name}.{part}")
    assert resumed.best_score == pytest.approx(whole.best_score)
    assert_same(whole.network.state_dict(), resumed.network.state_dict())


@pytest.mark.slow
@pytest.mark.parametrize("stop_at", [3, 4])  # inside the first epoch, and at its end
def test_a_run_that_reaches_its_time_limit_resumes_as_if_it_had_not(
    whole_run: tuple[Path, DetectorModule],
    train_set: Dataset,
    val_set: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stop_at: int,
) -> None:
    """It ends with a validation and a checkpoint of its last step."""
    now = 0.0
    original = DetectorModule.training_step

    def step(self: DetectorModule, *args: Any) -> torch.Tensor:
        nonlocal now
        now = 61.0 if self.trainer.global_step == stop_at - 1 else 0.0
        return original(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(DetectorModule, "training_step", step)
        patch.setattr(pelee.training.callbacks, "time", SimpleNamespace(monotonic=lambda: now))
        stopped = run(dataclasses.replace(RESUMABLE, max_minutes=1), train_set, val_set, tmp_path)
    assert load(tmp_path / "last.ckpt")["global_step"] == stop_at
    assert stopped.best_score == pytest.approx(measure(stopped.network, val_set))

    resumed = run(RESUMABLE, train_set, val_set, tmp_path, resume=True)
    folder, whole = whole_run
    for name in ("last.ckpt", "best.ckpt"):
        one, other = load(folder / name), load(tmp_path / name)
        for part in ("global_step", "epoch", "state_dict", "current_model_state", "optimizer_states", "lr_schedulers"):
            assert_same(one[part], other[part], f"{name}.{part}")
    assert resumed.best_score == pytest.approx(whole.best_score)
    assert_same(whole.network.state_dict(), resumed.network.state_dict())


@pytest.mark.slow
def test_checkpoints_by_the_clock(
    train_set: Dataset, val_set: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a run that is killed after two steps, far from `checkpoint_every`."""
    original = DetectorModule.training_step

    def step(self: DetectorModule, *args: Any) -> torch.Tensor:
        if self.trainer.global_step == 2:
            raise Killed
        return original(self, *args)

    monkeypatch.setattr(DetectorModule, "training_step", step)
    with pytest.raises(Killed):
        run(settings(checkpoint_minutes=1e-6, checkpoint_every=100), train_set, val_set, tmp_path)
    assert load(tmp_path / "last.ckpt")["global_step"] == 2


@pytest.mark.slow
def test_a_run_killed_while_it_validates_validates_again(
    train_set: Dataset, val_set: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = settings(ema_decay=0.9, checkpoint_every=1)
    whole = run(own, train_set, val_set, tmp_path / "whole")

    def die(self: DetectorModule) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(DetectorModule, "on_validation_epoch_end", die)
        run(own, train_set, val_set, tmp_path / "killed")
    resumed = run(own, train_set, val_set, tmp_path / "killed", resume=True)
    values = [float(row["val/mAP"]) for row in read_csv(tmp_path / "killed") if row.get("val/mAP")]
    expected = [float(row["val/mAP"]) for row in read_csv(tmp_path / "whole") if row.get("val/mAP")]
    assert values == pytest.approx(expected)
    assert len(values) == 2
    assert_same(whole.network.state_dict(), resumed.network.state_dict())


@pytest.mark.slow
def test_a_finished_run_resumes_to_its_result(train_set: Dataset, val_set: Dataset, tmp_path: Path) -> None:
    own = settings(ema_decay=0.9, validate_every=5)  # too short for a validation
    finished = run(own, train_set, val_set, tmp_path)
    assert not (tmp_path / "best.ckpt").exists()
    measured = [float(row["val/mAP"]) for row in read_csv(tmp_path) if row.get("val/mAP")]
    assert measured == pytest.approx([finished.best_score])  # the end is measured all the same
    again = run(own, train_set, val_set, tmp_path, resume=True)
    assert again.best_score == pytest.approx(finished.best_score)
    assert_same(finished.network.state_dict(), again.network.state_dict())
    assert_same(load(tmp_path / "last.ckpt")["state_dict"], finished.state_dict())  # the average, not the weights


@pytest.mark.slow
def test_a_run_is_not_resumed_as_another(train_set: Dataset, val_set: Dataset, tmp_path: Path) -> None:
    own = settings(epochs=1)
    run(own, train_set, val_set, tmp_path)
    with pytest.raises(SettingsError, match=r"begun with lr .* cannot go on with 0\.5"):
        run(dataclasses.replace(own, lr=0.5), train_set, val_set, tmp_path, resume=True)
    renamed = dataclasses.replace(train_set, class_names=tuple(name.upper() for name in train_set.class_names))
    with pytest.raises(SettingsError, match="other classes"):
        run(own, renamed, dataclasses.replace(val_set, class_names=renamed.class_names), tmp_path, resume=True)
    run(
        dataclasses.replace(own, checkpoint_every=7), train_set, val_set, tmp_path, resume=True
    )  # changes nothing that is learnt


@pytest.mark.slow
def test_the_seed_decides_a_run(train_set: Dataset, val_set: Dataset, tmp_path: Path) -> None:
    one, same, other = (
        run(settings(epochs=1, seed=seed), train_set, val_set, tmp_path / name).network.state_dict()
        for name, seed in (("one", 1), ("same", 1), ("other", 2))
    )
    assert_same(one, same)
    name = next(name for name in one if name.endswith("weight"))
    assert not torch.allclose(one[name], other[name])


# It keeps what it found


@pytest.mark.slow
def test_what_a_run_leaves(train_set: Dataset, val_set: Dataset, tmp_path: Path) -> None:
    own = settings(epochs=7, gradient_clip=1.0, ema_decay=0.5, checkpoint_every=100)  # 28 steps, logged every 20
    trained = run(own, train_set, val_set, tmp_path)
    best, last = load(tmp_path / "best.ckpt"), load(tmp_path / "last.ckpt")
    assert (last["global_step"], last["epoch"]) == (28, 6)
    rows = read_csv(tmp_path)
    scores = {int(row["epoch"]): float(row["val/mAP"]) for row in rows if row["val/mAP"]}
    assert list(scores) == list(range(7))
    assert trained.best_score == pytest.approx(max(scores.values()))
    assert scores[best["epoch"]] == pytest.approx(max(scores.values()))
    assert_same(best["state_dict"], trained.state_dict())
    assert all(name.startswith("network.") for name in last["state_dict"] | last["current_model_state"])
    *_, logged = [row for row in rows if row["train/loss"]]
    parts = float(logged["train/classification"]) + float(logged["train/localization"])
    assert float(logged["train/loss"]) == pytest.approx(parts, rel=1e-5)
    assert float(logged["train/lr"]) == pytest.approx(own.lr * 0.5 * (1 + math.cos(math.pi * int(logged["step"]) / 28)))
    assert len(list((tmp_path / "logs").glob("events.out.tfevents.*"))) == 1


@pytest.mark.slow
def test_the_best_score_is_that_of_the_weights_that_come_back(
    train_set: Dataset, val_set: Dataset, tmp_path: Path
) -> None:
    trained = run(settings(epochs=3, ema_decay=0.7), train_set, val_set, tmp_path)
    assert trained.best_score == pytest.approx(measure(trained.network, val_set))
    assert trained.result is not None and trained.result.map_11point == pytest.approx(trained.best_score)


@pytest.mark.slow
def test_multi_scale_ends_with_the_batch_norm_of_the_input_size(
    train_set: Dataset, val_set: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = settings(epochs=2, multi_scale=0.5, ema_decay=0.7, batch_norm_images=5)
    trained = run(own, train_set, val_set, tmp_path)
    assert "batch norm of 6 images at 64 px: val/mAP" in capsys.readouterr().out
    assert trained.best_score == pytest.approx(measure(trained.network, val_set))
    moved = load(tmp_path / "best.ckpt")["state_dict"]
    state = trained.state_dict()
    changed = {name.rpartition(".")[2] for name in state if not torch.equal(state[name], moved[name])}
    assert changed - {"num_batches_tracked"} == {"running_mean", "running_var"}
    assert len([row for row in read_csv(tmp_path) if row["val/mAP"]]) == 2  # the curve has the scores of the run

    batches = ResumableBatchSampler(
        train_set.records, 3, dataclasses.replace(own, multi_scale=0.0, epochs=1), lambda: 0
    )
    dataset = TrainDataset(train_set.records, own)
    images = [collate([dataset[one] for one in batch]).images for batch in list(batches)[:3]]
    maps: list[torch.Tensor] = []
    stem = next(module for module in trained.network.modules() if isinstance(module, torch.nn.Conv2d))
    stem.register_forward_hook(lambda _, __, output: maps.append(output))
    with torch.no_grad():
        for one in images:
            trained.network(one)
    mean = torch.stack([one.mean((0, 2, 3)) for one in maps]).mean(0)
    first = next(name for name in state if name.endswith("running_mean"))
    torch.testing.assert_close(state[first], mean, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_early_stopping_stops_and_the_best_is_kept(
    train_set: Dataset, val_set: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([0.2, 0.5, 0.4, 0.5, 0.9, 0.9])
    monkeypatch.setattr(
        detection.training.lightning_module, "evaluate_voc", lambda *_: SimpleNamespace(map_11point=next(scores))
    )
    trained = run(settings(epochs=6, batch_size=8, patience=2), train_set, val_set, tmp_path)
    assert load(tmp_path / "last.ckpt")["epoch"] == 3  # two validations after the second were no better
    best = load(tmp_path / "best.ckpt")
    assert best["epoch"] == 1
    assert trained.best_score == pytest.approx(0.5)
    assert_same(best["state_dict"], trained.state_dict())


@pytest.mark.slow
def test_ctrl_c_is_what_it_is(
    train_set: Dataset, val_set: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(self: DetectorModule, *args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(DetectorModule, "training_step", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(settings(), train_set, val_set, tmp_path)


@pytest.mark.slow
def test_damaged_images_do_not_end_a_run_and_are_named(own_voc_root: Path, tmp_path: Path) -> None:
    train_set, val_set = (open_dataset("voc", own_voc_root, split) for split in ("trainval", "val"))
    folder = own_voc_root / "VOC2007" / "JPEGImages"
    for name in ("000002.jpg", "000009.jpg"):
        (folder / name).write_bytes((folder / name).read_bytes()[:400])
    for workers in (0, 1):
        trained = run(settings(workers=workers), train_set, val_set, tmp_path / str(workers))
        errors = sorted(trained.unreadable)
        assert len(errors) == 2 and "000002.jpg" in errors[0] and "000009.jpg" in errors[1]
        assert trained.global_step == 8


# It has one learning rate for the backbone and one for the rest


def test_the_optimizer_moves_every_parameter_once(train_set: Dataset, val_set: Dataset) -> None:
    module = DetectorModule(small_network(), settings(lr=0.1, backbone_lr=0.25), train_set, val_set)
    optimizer: Any = module.configure_optimizers()["optimizer"]
    backbone, rest = optimizer.param_groups
    assert (backbone["initial_lr"], rest["initial_lr"]) == (0.025, 0.1)
    assert {id(p) for p in backbone["params"]} == {id(p) for p in module.network.backbone.parameters()}
    moved = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert len(moved) == len(set(moved))
    assert set(moved) == {id(p) for p in module.parameters()}
