"""Feature distillation: the teacher's weights and maps, the loss, and a training with it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save, save_file

from data.datasets.records import Dataset
from data.errors import SettingsError, WeightsError
from data.images.image_io import read_image
from data.images.preprocess import preprocess
from detection.models.pelee import Pelee, PeleeConfig
from detection.training.distillation import FeatureDistillationLoss, MobileNetTeacher, load_teacher
from detection.training.lightning_module import DetectorModule
from detection.training.settings import TrainSettings
from detection.training.train import train
from tests.support import ddp_process
from tests.support.caffe_teacher import teacher_layers, teacher_tensors


@pytest.fixture(scope="module")
def teacher_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("teacher") / "teacher.safetensors"
    save_file(teacher_tensors(0), file)
    return file


@pytest.mark.slow
def test_the_teacher_is_mobilenet_with_the_file_s_weights(teacher_file: Path) -> None:
    network = load_teacher(teacher_file)
    # MobileNetV1's convolutions without its classifier: 3,206,976 with batch norms, each merged into a bias.
    assert sum(parameter.numel() for parameter in network.parameters()) == 3_196_032
    assert not network.training and not any(parameter.requires_grad for parameter in network.parameters())
    for (name, weight, bias), layer in zip(teacher_layers(0), (module for module in in_order(network)), strict=True):
        assert torch.equal(layer.weight.flatten(), torch.from_numpy(weight.ravel())), name
        assert torch.equal(layer.bias, torch.from_numpy(bias)), name


def in_order(network: MobileNetTeacher) -> list[Any]:
    pairs = [pair for pairs in zip(network.depthwise, network.pointwise, strict=True) for pair in pairs]
    return [network.conv0, *pairs]


@pytest.mark.slow
@pytest.mark.parametrize(("size", "sides"), [(304, (19, 10)), (208, (13, 7)), (64, (4, 2))])
def test_its_maps_have_the_student_s_sizes(teacher_file: Path, size: int, sides: tuple[int, int]) -> None:
    images = torch.randint(0, 256, (1, 3, size, size), dtype=torch.uint8)
    with torch.no_grad():
        maps = load_teacher(teacher_file)(images)
        student = Pelee().backbone.features(images)[-2:]
    assert [tuple(m.shape[1:]) for m in maps] == [(512, sides[0], sides[0]), (1024, sides[1], sides[1])]
    assert [m.shape[-1] for m in student] == list(sides)


def test_it_takes_rgb_and_was_trained_on_bgr(teacher_file: Path) -> None:
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    network = load_teacher(teacher_file)
    x = (images.flip(1).float() - 127.5) * 0.007843
    first = torch.relu(torch.nn.functional.conv2d(x, network.conv0.weight, network.conv0.bias, 2, 1))
    seen: list[torch.Tensor] = []
    network.depthwise[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network(images)
    torch.testing.assert_close(seen[0], first)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.safetensors", None, "no such file"),
        ("file.safetensors", b"PK\x03\x04 no model", "is no teacher"),
        ("file.safetensors", save({"conv0.weight": np.zeros((32, 3, 3, 3), np.float32)}), "is no teacher"),
        ("file.caffemodel", b"", r"convert it once .*convert_teacher .*file\.caffemodel .*file\.safetensors"),
    ],
)
def test_another_file_is_refused_in_one_line(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    file = tmp_path / name
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(WeightsError, match=message) as caught:
        load_teacher(file)
    assert str(file) in str(caught.value) and "\n" not in str(caught.value)


def test_feature_distillation_loss_is_the_error_against_standardized_maps() -> None:
    imitation = FeatureDistillationLoss([2], [2])
    with torch.no_grad():
        imitation.adapters[0].weight.zero_()
        imitation.adapters[0].bias.zero_()
    taught = torch.tensor([1.0, 2.0, 3.0, 10.0, 30.0, 50.0]).view(1, 2, 1, 3)
    # Standardised with n - 1: -1, 0, 1 in each channel. Zeros are off by 1, 0, 1.
    assert imitation([torch.ones(1, 2, 1, 3)], [taught]).item() == pytest.approx(2 / 3, abs=1e-4)
    with torch.no_grad():
        imitation.adapters[0].weight.copy_(torch.eye(2).view(2, 2, 1, 1))
    right = torch.tensor([-1.0, 0.0, 1.0, -1.0, 0.0, 1.0]).view(1, 2, 1, 3)
    assert imitation([right], [taught]).item() == pytest.approx(0, abs=1e-4)
    # A channel that says nothing anywhere, as a ReLU's may, is no division by zero.
    assert torch.isfinite(imitation([right], [torch.zeros(1, 2, 1, 3)]))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("quiet_lightning")
def test_a_run_comes_nearer_to_its_teacher_and_drops_the_adapters(
    teacher_file: Path, train_set: Dataset, val_set: Dataset, tmp_path: Path
) -> None:
    def run(output: Path, weight: float, resume: bool = False, taught: bool = True) -> DetectorModule:
        torch.manual_seed(0)
        network = Pelee(PeleeConfig(num_classes=3, input_size=64, backbone=ddp_process.BACKBONE))
        settings = TrainSettings(
            epochs=8,
            batch_size=4,
            input_size=64,
            precision="fp32",
            lr=0.003,
            imitation=weight,
            validate_every=8,
        )
        teacher = load_teacher(teacher_file) if taught else None
        return train(
            network,
            settings,
            train_set,
            val_set,
            output,
            teacher=teacher,
            resume=resume,
            accelerator="cpu",
            progress=False,
        )

    def distance(module: DetectorModule) -> float:
        teacher = load_teacher(teacher_file)
        images = [preprocess(read_image(record.image), 64) for record in train_set.records]
        batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
        module.train()  # of a run this short, batch norm has no statistics to speak of
        with torch.no_grad():
            assert module.imitation is not None
            return module.imitation(module.network.backbone.features(batch)[-2:], teacher(batch)).item()

    trained = run(tmp_path / "run", 100.0)
    assert distance(trained) < 0.97 * distance(run(tmp_path / "untaught", 0.0))
    assert trained.network.state_dict().keys() == Pelee(trained.network.config).state_dict().keys()
    assert not any(name.startswith("teacher") for name in trained.state_dict())
    with pytest.raises(SettingsError, match="begun with a --teacher"):
        run(tmp_path / "run", 100.0, resume=True, taught=False)
