"""pelee-train --model ssdlite-mobilenetv2: the trainer, the cards and the starts that Pelee has."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.models import mobilenet_v2

from data.datasets.records import Dataset
from detection.commands.eval import main as eval_main
from detection.commands.train import main
from detection.detector import Detector
from detection.models.ssdlite import SSDLite, SSDLiteConfig
from detection.training.distillation import MobileNetTeacher
from detection.training.settings import TrainSettings
from detection.training.train import train
from tests.support.run_files import measure
from weights.store import load_tensors, resolve

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("quiet_lightning")]


def command(root: Path, output: Path, *words: str) -> list[str]:
    """Two steps that leave every convolution where it was, to three decimals and more."""
    own = ["--model", "ssdlite-mobilenetv2", "--dataset", "voc", "--root", str(root), "--output", str(output)]
    own += ["--val-split", "val", "--epochs", "1", "--batch-size", "4", "--lr", "1e-9", "--input-size", "72"]
    return [*own, "--precision", "fp32", "--accelerator", "cpu", "--no-export", *words]


@pytest.fixture(scope="module")
def torchvisions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state dict as torchvision publishes it, with random weights."""
    torch.manual_seed(3)
    file = tmp_path_factory.mktemp("start") / "mobilenet_v2.pth"
    torch.save(mobilenet_v2(weights=None).state_dict(), file)
    return file


@pytest.mark.slow
def test_from_torchvisions_weights_to_a_detector(
    voc_root: Path, torchvisions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Backbone, training, card, evaluation, detection, and a fine-tuning of what came out."""
    assert main(command(voc_root, tmp_path / "peer", "--backbone", str(torchvisions))) in (0, 1)
    text = capsys.readouterr().out
    (line,) = [line for line in text.splitlines() if line.startswith("from mobilenet_v2.pth (")]
    assert line.endswith("left (no place for them): 2 tensors of classifier.1") and "new" not in line
    model = resolve(tmp_path / "peer" / "model")
    card = model.card
    assert (card.name, card.architecture, card.input_size) == ("peer", "ssdlite-mobilenetv2", 72)
    assert card.training["settings"]["model"] == "ssdlite-mobilenetv2"
    assert card.training["started_from"].startswith("mobilenet_v2.pth, SHA-256 ")
    stored = load_tensors(model)
    for name, tensor in torch.load(torchvisions, weights_only=True).items():
        if tensor.ndim == 4:
            wanted = tensor.numpy()
            np.testing.assert_allclose(stored[f"backbone.network.{name}"], wanted, rtol=2e-3, atol=1e-5, err_msg=name)

    folder = str(tmp_path / "peer" / "model")
    words = ["--dataset", "voc", "--root", str(voc_root), "--split", "val", "--weights", folder, "--runtime", "torch"]
    assert eval_main(words) == 0
    assert "mAP" in capsys.readouterr().out
    detector = Detector.load(folder, runtime="torch")
    assert detector.class_names == ("disc", "ring", "square") and detector.input_size == 72

    again = command(voc_root, tmp_path / "again", "--max-steps", "1", "--weights", folder)
    assert main(again) in (0, 1)
    assert f"from peer ({card.sha256[:12]}): took {len(stored)} tensors\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--weights", "pelee-voc"], "is a 'pelee', this run trains a 'ssdlite-mobilenetv2'; set model alike"),
        (["--backbone", "peleenet-tiny-imagenet"], "the weights to start from do not fit"),
        (["--backbone", "absent.pth"], "absent.pth: no such file, expected a state dict"),
        (["--input-size", "48"], "input size 48 does not fit; expected at least 64"),
        (["--head-kernel", "3"], "setting head_kernel is 3, a choice that ssdlite-mobilenetv2 does not have"),
        (["--model", "ssdlite"], "setting model: "),
    ],
)
def test_what_does_not_fit(
    voc_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main(command(voc_root, tmp_path / "out", *words)) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_it_learns_beside_a_teacher(train_set: Dataset, tmp_path: Path) -> None:
    """The pictures by heart, in sizes that change; the maps of strides 16 and 32 have the teacher's sizes at any."""
    torch.manual_seed(0)
    network = SSDLite(SSDLiteConfig(num_classes=3, input_size=96, width=0.35))
    settings = TrainSettings(
        model="ssdlite-mobilenetv2", epochs=2, batch_size=4, input_size=90, multi_scale=0.4, precision="fp32",
        lr=0.002, optimizer="adamw", validate_every=2, imitation=1.0, assignment="atss", class_loss="focal",
    )  # fmt: skip
    trained = train(
        network, settings, train_set, train_set, tmp_path, teacher=MobileNetTeacher().eval().requires_grad_(False),
        accelerator="cpu", progress=False,
    )  # fmt: skip
    assert trained.imitation is not None
    assert [adapter.in_channels for adapter in trained.imitation.adapters] == list(network.feature_channels)
    assert trained.best_score == pytest.approx(measure(network, train_set, 90), abs=1e-6)
