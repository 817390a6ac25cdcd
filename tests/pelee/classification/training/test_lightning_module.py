"""Lightning module of a classifier: splits, batches, distillation, checkpoints."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from data.classification.image_folder import open_image_folder
from data.errors import DatasetError, SettingsError
from data.images.image_io import write_image
from pelee.classification.training.dataset import ImageBatches
from pelee.classification.training.lightning_module import ClassifierModule, train
from pelee.models.layers import Normalize
from pelee.runs.processes import Processes
from tests.support.tiny_training import SmallNet, run_small, small_sets, small_settings

Sets = tuple[ImageBatches, ImageBatches]


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Sets:
    return small_sets(tmp_path_factory.mktemp("data"))


class NoLinear(nn.Module):
    """A network without a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.normalize = Normalize()
        self.head = nn.Conv2d(3, 2, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.normalize(images)).mean((2, 3))


class Auxiliary(SmallNet):
    """A network with auxiliary logits in training mode."""

    def forward(self, images: Tensor) -> Any:
        logits = super().forward(images)
        return (logits, 0.5 * logits) if self.training else logits


@pytest.mark.slow
@pytest.mark.usefixtures("quiet_lightning")
def test_train_returns_the_validation_scores_of_its_module(sets: Sets, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = SmallNet()
    settings = small_settings(epochs=1)
    module, scores = train(network, settings, *sets, tmp_path, accelerator="cpu", progress=False)
    assert set(scores) == {"top1", "top5"} and scores["top5"] == 1.0  # two classes
    images = sets[1][0, range(4)]
    with torch.inference_mode():
        predicted = module.network.eval()(images.images.float()).argmax(1)
    assert (predicted == images.labels).float().mean().item() == pytest.approx(scores["top1"])
    assert (tmp_path / "last.ckpt").is_file()


def test_train_on_splits_of_other_classes_is_refused(sets: Sets, tmp_path: Path) -> None:
    for name in ("bright", "dark", "white"):
        image = sets[0].dataset.read(0)
        write_image(tmp_path / "data" / "val" / name / "0.png", image)
    other = ImageBatches(open_image_folder("imagefolder", tmp_path / "data", "val"), 16)
    with pytest.raises(DatasetError, match="has 3 classes, train 2; they must be the same, and 'white' is in one only"):
        train(SmallNet(), small_settings(), sets[0], other, tmp_path / "out")


@pytest.mark.parametrize(("batch_size", "devices"), [(1, 1), (4, 3), (4, 4), (4, 0)])
def test_train_with_batches_too_small_for_batch_norm_is_refused(
    batch_size: int, devices: int, sets: Sets, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match="batch norm needs 2"):
        train(SmallNet(), small_settings(batch_size=batch_size), *sets, tmp_path, processes=Processes(devices))


def test_teacher_for_a_network_without_a_linear_layer_is_refused(sets: Sets) -> None:
    with pytest.raises(SettingsError, match="no linear layer"):
        ClassifierModule(NoLinear(), small_settings(), *sets, taught=torch.zeros(12, 5))


@pytest.mark.usefixtures("quiet_lightning")
def test_training_step_adds_auxiliary_and_teacher_losses(
    sets: Sets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: dict[str, float] = {}

    def log(self: ClassifierModule, name: str, value: Any, **options: Any) -> None:
        logged[name] = float(torch.as_tensor(value).detach())
        original(self, name, value, **options)

    original = ClassifierModule.log
    monkeypatch.setattr(ClassifierModule, "log", log)
    settings = small_settings(max_steps=1, auxiliary_weight=0.25, distillation=2.0)
    run_small(sets, tmp_path, settings, Auxiliary(), taught=torch.randn(12, 5).half())
    expected = logged["train/classes"] + 0.25 * logged["train/auxiliary"] + 2.0 * logged["train/teacher"]
    assert logged["train/loss"] == pytest.approx(expected, rel=1e-5) and logged["train/teacher"] > 0


@pytest.mark.slow
@pytest.mark.usefixtures("quiet_lightning")
def test_checkpoint_of_another_kind_of_run_is_refused(sets: Sets, tmp_path: Path) -> None:
    module = run_small(sets, tmp_path, small_settings(max_steps=1))
    checkpoint = torch.load(tmp_path / "last.ckpt", weights_only=False)
    module.on_load_checkpoint(checkpoint)
    checkpoint["settings"]["normalization"] = "usual"  # the earlier name of "model"
    module.on_load_checkpoint(checkpoint)
    with pytest.raises(SettingsError, match="begun with other classes"):
        module.on_load_checkpoint(checkpoint | {"class_names": ["cat", "dog"]})
    taught = ClassifierModule(SmallNet(), module.settings, *sets, taught=torch.zeros(12, 5))
    with pytest.raises(SettingsError, match="begun without a teacher; resume it without"):
        taught.on_load_checkpoint(checkpoint)
    checkpoint["settings"]["lr"] = 0.5
    with pytest.raises(SettingsError, match=r"lr 0\.5"):
        module.on_load_checkpoint(checkpoint)
