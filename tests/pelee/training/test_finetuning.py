"""Training on from other weights: what is frozen stays to the bit, what was taken moves slower, what is new is said."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from data.errors import SettingsError
from data.images.image_io import write_image
from pelee.classification.training.dataset import ImageBatches
from pelee.classification.training.lightning_module import ClassifierModule
from pelee.commands.train_classifier import main
from pelee.models.peleenet import PeleeNet, PeleeNetConfig
from pelee.training.finetuning import freeze, parameter_groups, partition_parameters, summary, tensors_in_order
from tests.support.tiny_training import SmallNet, all_but_head, run_small, small_sets, small_settings
from weights.store import load_tensors, resolve

Sets = tuple[ImageBatches, ImageBatches]


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Sets:
    return small_sets(tmp_path_factory.mktemp("sets"))


def moved(network: nn.Module, before: dict[str, Tensor]) -> set[str]:
    """Names of the tensors that are no longer what they were, to the bit."""
    return {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}


# Which


def test_the_order_is_the_pictures_and_not_the_registration_s() -> None:
    network = PeleeNet(3, PeleeNetConfig(blocks=(1, 1), transitions=(8, 8), bottleneck_widths=(1, 1), growth_rate=8))
    modules = list(dict.fromkeys(".".join(name.split(".")[:2]) for name in tensors_in_order(network, 32)))
    assert [name for name in modules if not name.startswith("stem")] == [
        *("stages.0", "transitions.0", "stages.1", "transitions.1", "classifier.1")
    ]
    assert sorted(tensors_in_order(network, 32)) == sorted(network.state_dict()) and network.training


def test_what_is_new_trains_wherever_it_stands() -> None:
    network = SmallNet()
    taken = [name for name in network.state_dict() if name != "first.weight"]
    partition = partition_parameters(network, taken, False, "head", 16)
    assert partition.new == {"first.weight"} and partition.pretrained == {"head.weight", "head.bias"}
    assert "norms.1.running_mean" in partition.frozen and "second.0.weight" in partition.frozen
    frozen = freeze(network, partition.frozen)
    # the sequence with the dropout in it, too, but nothing with a tensor that trains
    assert network.second in frozen and network.norms[0] in frozen
    assert network not in frozen and network.first not in frozen and network.head not in frozen


@pytest.mark.parametrize(
    ("taken", "frozen", "unfreeze", "said"),
    [
        (True, False, "hed", "no weights in a module 'hed'; name one of first, norms, second, head"),
        (True, False, "second.1", "no weights in a module 'second.1'"),  # a dropout
        (True, True, None, "nothing would train"),
        (False, True, None, "--weights"),
        (False, False, "head", "--weights"),
    ],
)
def test_what_cannot_be_frozen_is_one_line(taken: bool, frozen: bool, unfreeze: str | None, said: str) -> None:
    network = SmallNet()
    with pytest.raises(SettingsError, match=said) as error:
        partition_parameters(network, list(network.state_dict()) if taken else [], frozen, unfreeze, 16)
    assert "\n" not in str(error.value)


def test_what_was_taken_has_a_share_of_the_rate() -> None:
    network = SmallNet()
    partition = partition_parameters(network, all_but_head(network), False, "second", 16)
    freeze(network, partition.frozen)
    slow = [one for name, one in network.named_parameters() if name in partition.pretrained]
    first, second = parameter_groups(network, slow, 0.2, 0.1)
    assert first["lr"] == pytest.approx(0.02) and second["lr"] == 0.2
    # second.0 4×4×3×3, norms.1 2×4; the head 4×2 + 2; first and norms.0 are in neither
    assert sum(one.numel() for one in first["params"]) == 144 + 8
    assert sum(one.numel() for one in second["params"]) == 10
    assert summary(network, partition, 0.1) == (
        "trains: 10 parameters in 2 tensors new, 152 parameters in 3 tensors pretrained at 0.1 of the rate; "
        "frozen: 116 parameters in 3 tensors"
    )


# Runs


@pytest.mark.slow
@pytest.mark.parametrize("decay", [0.0, 0.9], ids=["", "moving average"])
def test_frozen_tensors_stay_to_the_bit(decay: float, sets: Sets, tmp_path: Path) -> None:
    network = SmallNet()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    settings = small_settings(freeze=True, ema_decay=decay, weight_decay=0.1, lr=0.1, validate_every=2)
    run_small(sets, tmp_path, settings, network, taken=all_but_head(network))
    assert moved(network, before) == {"head.weight", "head.bias"}


@pytest.mark.slow
def test_from_a_module_on_it_trains_with_its_statistics(sets: Sets, tmp_path: Path) -> None:
    network = SmallNet()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    settings = small_settings(unfreeze_from="norms.1", pretrained_lr=0.5, epochs=2)
    module = run_small(sets, tmp_path, settings, network, taken=all_but_head(network))
    changed = moved(network, before)
    assert changed == {name for name in before if name.startswith(("norms.1.", "head."))}
    assert [group["initial_lr"] for group in module.trainer.optimizers[0].param_groups] == [0.005, 0.01]


@pytest.mark.slow
def test_two_stages_by_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    colours = {"blue": (20, 40, 220), "green": (30, 200, 40), "red": (210, 30, 30)}
    for root, names in (("two", ["blue", "red"]), ("three", list(colours))):
        for split_name in ("train", "val"):
            for name in names:
                for number in range(4):
                    picture = np.full((8, 8, 3), colours[name], np.uint8) + np.uint8(number)
                    write_image(tmp_path / root / split_name / name / f"{number}.png", picture)

    def run(root: str, output: str, *words: str) -> dict[str, np.ndarray]:
        small = "{blocks: [1, 1], transitions: [8, 8], bottleneck_widths: [1, 1], growth_rate: 8, stem_channels: 8}"
        common = ["--epochs", "1", "--batch-size", "4", "--picture-size", "32", "--input-size", "32"]
        common += ["--size-phases", "[]"]
        common += ["--model-settings", small, "--precision", "fp32", "--accelerator", "cpu", "--output"]
        common += [str(tmp_path / output), "--no-export"]
        assert main(["--dataset", "imagefolder", "--root", str(tmp_path / root), *common, *words]) == 0
        return load_tensors(resolve(tmp_path / output / "model"))

    first = run("two", "first")
    assert "pretrained" not in capsys.readouterr().out
    head = run("three", "head", "--weights", str(tmp_path / "first" / "model"), "--freeze", "true")
    said = capsys.readouterr().out
    assert "trains: 27 parameters in 2 tensors new; frozen:" in said  # 8 × 3 + 3
    assert "matched by name: 2 in both (blue, red)\n1 of the dataset only (green)\n" in said
    for name, tensor in first.items():
        assert np.array_equal(tensor, head[name]) != name.startswith("classifier"), name
    tuned = run("three", "tuned", "--weights", str(tmp_path / "head" / "model"), "--pretrained-lr", "0.5")
    assert re.search(
        r"trains: [\d,]+ parameters in \d+ tensors pretrained at 0.5 of the rate\n", capsys.readouterr().out
    )
    assert not np.array_equal(tuned["stem.stem1.0.weight"], head["stem.stem1.0.weight"])

    state = {name: torch.from_numpy(tensor) for name, tensor in head.items()}
    torch.save(state, tmp_path / "head.pth")
    run("three", "foreign", "--weights", str(tmp_path / "head.pth"), "--unfreeze-from", "classifier")
    assert "from head.pth (" in capsys.readouterr().out
    started = resolve(tmp_path / "foreign" / "model").card.training["started_from"]
    assert started.startswith("head.pth, SHA-256 ")


# Auxiliary classifiers


class AuxiliaryNet(nn.Module):
    """Says the same of every picture, and something else beside it while it trains."""

    def __init__(self) -> None:
        super().__init__()
        self.said = nn.Parameter(torch.tensor([1.0, 0.0]))
        self.aside = nn.Parameter(torch.tensor([0.0, 2.0]))

    def forward(self, images: Tensor) -> Any:
        said, aside = (each.expand(len(images), 2) for each in (self.said, self.aside))
        return (said, aside) if self.training else said


def test_the_auxiliary_loss_has_its_weight(sets: Sets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logged: dict[str, float] = {}
    log = ClassifierModule.log

    def keep(self: ClassifierModule, name: str, value: Any, **options: Any) -> None:
        logged[name] = float(value)
        log(self, name, value, **options)

    monkeypatch.setattr(ClassifierModule, "log", keep)
    settings = small_settings(batch_size=12, epochs=1, label_smoothing=0.0, auxiliary_weight=0.25)
    run_small(sets, tmp_path, settings, AuxiliaryNet())
    # Six pictures of each class: the mean of being right and wrong, log(1 + e^-d) and that + d, d the logits' distance.
    classes, auxiliary = (np.log1p(np.exp(-distance)) + distance / 2 for distance in (1, 2))
    assert logged["train/classes"] == pytest.approx(classes, abs=1e-5)
    assert logged["train/auxiliary"] == pytest.approx(auxiliary, abs=1e-5)
    assert logged["train/loss"] == pytest.approx(classes + 0.25 * auxiliary, abs=1e-5)
    assert logged["val/top1"] == 0.5
