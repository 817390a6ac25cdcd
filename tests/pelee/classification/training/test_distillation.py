"""Distillation: the teacher's weights, its logits, the loss."""

from pathlib import Path

import pytest
import torch

from data.classification.image_folder import open_image_folder
from data.errors import SettingsError, WeightsError
from pelee.classification.training.dataset import ImageBatches
from pelee.classification.training.distillation import distillation_loss, load_teacher, predict_logits
from pelee.models.layers import IMAGENET_MEAN, IMAGENET_STD
from tests.support.color_folders import make_folders
from tests.support.tiny_training import save_teacher


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folders(tmp_path_factory.mktemp("data") / "colors")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_teacher(tmp_path_factory.mktemp("teacher"))


@pytest.mark.slow
def test_predict_logits_is_the_mean_over_the_image_and_its_mirror(folders: Path, teacher: Path) -> None:
    import torchvision

    batches = ImageBatches(open_image_folder("imagefolder", folders, "val"), 32)
    ((places, logits),) = predict_logits(teacher, "mobilenet_v3_small", batches, 32, torch.device("cpu"))
    assert places.tolist() == list(range(48)) and logits.shape == (48, 7)
    network = torchvision.models.mobilenet_v3_small(num_classes=7).eval()
    network.load_state_dict(torch.load(teacher, weights_only=True))
    images = (batches[0, [5]].images - torch.tensor(IMAGENET_MEAN).view(3, 1, 1)) / torch.tensor(IMAGENET_STD).view(
        3, 1, 1
    )
    with torch.inference_mode():
        expected = (network(images) + network(images.flip(3))) / 2
    assert torch.allclose(logits[5].float(), expected[0], atol=0.03)


def test_distillation_loss_is_the_divergence_times_the_squared_temperature() -> None:
    student = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    wanted = torch.tensor([[0.7, 0.3], [0.5, 0.5]])
    p = (student / 2).softmax(1)
    assert float(distillation_loss(student, wanted, 2.0)) == pytest.approx(
        float(4 * (wanted * (wanted / p).log()).sum(1).mean()), abs=1e-6
    )
    assert float(distillation_loss(wanted.log() * 3, wanted, 3.0)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("case", ["absent", "no state dict", "another architecture", "unknown architecture"])
def test_load_teacher_that_does_not_fit_is_one_line(case: str, teacher: Path, tmp_path: Path) -> None:
    file, architecture = teacher, "mobilenet_v3_small"
    if case == "absent":
        file = tmp_path / "absent.pth"
    elif case == "no state dict":
        file = tmp_path / "text.pth"
        file.write_text("no weights")
    elif case == "another architecture":
        architecture = "resnet18"
    else:
        architecture = "resnet19"
    with pytest.raises((WeightsError, SettingsError)) as error:
        load_teacher(file, architecture)
    assert "\n" not in str(error.value) and (str(file) in str(error.value) or "resnet19" in str(error.value))
