"""The classifier's trainer: pictures in folders in, a model folder out."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from data.classification.image_folder import open_image_folder
from data.errors import DatasetError, SettingsError, WeightsError
from data.images.image_io import write_image
from pelee.classification.training.augmentation import Augmentation, random_resized_crop
from pelee.classification.training.dataset import ImageBatches
from pelee.classification.training.sampler import ResumableBatchSampler, sequential_batches
from pelee.classification.training.settings import RECIPES, ClassifierSettings, resolve_settings
from pelee.commands.train_classifier import main
from pelee.training.recipes import recipe_names
from weights.store import load_tensors, resolve

COLOURS = {"blue": (20, 40, 220), "green": (30, 200, 40), "red": (210, 30, 30)}
# Long enough to be sure on any CPU: at 14 epochs rounding decides between 75 and 100 % of the validation images.
QUICK = ["--epochs", "20", "--batch-size", "8", "--lr", "0.02", "--precision", "fp32", "--ema-decay", "0.5"]
QUICK += ["--picture-size", "32", "--input-size", "48", "--size-phases", "[[32, 0.6]]", "--crop-scale", "0.5"]


def make_folders(root: Path, count: int = 16) -> Path:
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for name, colour in COLOURS.items():
            for number in range(count):
                noise = rng.integers(-20, 20, (24, 32, 3))
                image = (np.array(colour) + noise).clip(0, 255).astype(np.uint8)
                write_image(root / split / name / f"{number}.png", image)
    return root


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folders(tmp_path_factory.mktemp("data") / "colours")


def run(root: Path, output: Path, *words: str) -> int:
    return main(["--dataset", "imagefolder", "--root", str(root), "--output", str(output), *QUICK, *words])


# Augmentation


def test_a_crop_keeps_size_and_colour_and_shows_a_part() -> None:
    gradient = torch.linspace(0, 255, 64).expand(8, 3, 64, 64)
    torch.manual_seed(0)
    crops = random_resized_crop(gradient, 32, 0.25)
    assert crops.shape == (8, 3, 32, 32)
    assert crops.min() >= 0 and crops.max() <= 255
    spans = crops.amax((1, 2, 3)) - crops.amin((1, 2, 3))
    # at least a quarter of the area at a ratio of 3/4 at the least: sqrt(0.25 * 3/4) = 0.43 of the width
    assert (spans > 0.40 * 255).all() and (spans < 255).any()
    rising = crops[:, 0, 0, -1] > crops[:, 0, 0, 0]
    assert rising.any() and not rising.all()  # some are mirrored


def test_without_crop_and_flip_pictures_stay_as_they_are() -> None:
    images = torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8)
    assert torch.allclose(random_resized_crop(images, 16, 1.0, flip=0.0), images.float(), atol=1e-2)


def augmented(**changes: float | str) -> tuple[torch.Tensor, torch.Tensor]:
    settings = dataclasses.replace(ClassifierSettings(), crop_scale=1.0, flip=0.0, **changes)
    torch.manual_seed(3)
    images = torch.full((16, 3, 32, 32), 200, dtype=torch.uint8)
    images[8:] = 40
    return Augmentation(settings)(images, torch.eye(2)[[0] * 8 + [1] * 8], 32)


def test_mixup_mixes_pictures_and_targets_by_one_share() -> None:
    images, targets = augmented(mixup=1.0)
    # The picture's grey tells its share of the bright class: 200 for all of it, 40 for none.
    assert torch.allclose((images.mean((1, 2, 3)) - 40) / 160, targets[:, 0], atol=1e-3)
    assert torch.allclose(targets.sum(1), torch.ones(16))
    assert ((targets > 0.01) & (targets < 0.99)).any()


def test_cutmix_pastes_a_rectangle_and_counts_its_area() -> None:
    images, targets = augmented(cutmix=1.0)
    assert torch.allclose((images > 120).float().mean((1, 2, 3)), targets[:, 0], atol=1e-3)
    assert ((targets > 0.01) & (targets < 0.99)).any()


def test_erasing_empties_a_part_of_some_pictures() -> None:
    images, targets = augmented(erasing=0.5)
    erased = (images == 0).flatten(1).any(1)
    assert 2 < erased.sum() < 14
    share = (images[erased] == 0).float().mean((1, 2, 3))
    assert (share > 0.01).all() and (share < 0.4).all()
    assert torch.equal(targets, torch.eye(2)[[0] * 8 + [1] * 8])


@pytest.mark.parametrize("policy", ["trivial", "rand"])
def test_a_policy_changes_pictures_and_keeps_their_range(policy: str) -> None:
    settings = dataclasses.replace(ClassifierSettings(), crop_scale=1.0, flip=0.0, policy=policy)
    torch.manual_seed(3)
    images = torch.randint(0, 256, (32, 3, 16, 16), dtype=torch.uint8)
    changed, _ = Augmentation(settings)(images, torch.zeros(32, 2), 16)
    assert changed.shape == (32, 3, 16, 16) and changed.min() >= 0 and changed.max() <= 255
    same = [torch.allclose(a, b.float(), atol=0.1) for a, b in zip(changed, images, strict=True)]
    assert sum(same) < 24


# Pictures


def test_classes_are_the_folders_in_order(folders: Path) -> None:
    pictures = open_image_folder("imagefolder", folders, "train")
    assert pictures.class_names == ("blue", "green", "red")
    assert len(pictures) == 48 and pictures.labels.tolist() == [0] * 16 + [1] * 16 + [2] * 16


def test_tiny_imagenet_s_ids_get_their_words(tmp_path: Path) -> None:
    for wnid in ("n01", "n02", "n03", "n04"):
        write_image(tmp_path / "train" / wnid / "images" / "a.png", np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "words.txt").write_text("n01\tgoldfish, Carassius auratus\nn02\tcrane\nn03\tcrane\nn99\telse\n")
    assert open_image_folder("tiny-imagenet", tmp_path, "train").class_names == (
        "goldfish",
        "crane (n02)",
        "crane (n03)",
        "n04",
    )


@pytest.mark.parametrize("cached", [True, False])
def test_pictures_are_warped_and_labelled(folders: Path, cached: bool) -> None:
    batches = ImageBatches(open_image_folder("imagefolder", folders, "train"), 16, cached)
    batch = batches[7, [0, 17, 40]]
    assert batch.images.shape == (3, 3, 16, 16) and batch.images.dtype == torch.uint8
    assert batch.labels.tolist() == [0, 1, 2] and batch.places.tolist() == [0, 17, 40] and batch.step == 7
    for image, colour in zip(batch.images, COLOURS.values(), strict=True):
        assert torch.allclose(image.float().mean((1, 2)), torch.tensor(colour).float(), atol=8)


@pytest.mark.parametrize("cached", [True, False])
def test_an_unreadable_picture_is_left_out_and_named(tmp_path: Path, cached: bool) -> None:
    make_folders(tmp_path, 3)
    (tmp_path / "train" / "blue" / "1.png").write_bytes(b"no picture")
    batches = ImageBatches(open_image_folder("imagefolder", tmp_path, "train"), 16, cached)
    batch = batches[0, [0, 1, 5]]
    assert batch.labels.tolist() == [0, 1] and batch.places.tolist() == [0, 5]
    assert len(batch.unreadable) == 1 and "1.png" in batch.unreadable[0]


def test_the_order_is_a_permutation_that_goes_on_where_it_was_left() -> None:
    done = 0
    order = ResumableBatchSampler(10, 3, 1, lambda: done)
    first = list(order)
    assert [step for step, _ in first] == [0, 1, 2]
    assert len({place for _, places in first for place in places}) == 9
    done = 3
    second = list(order)
    assert [step for step, _ in second] == [3, 4, 5] and second[0][1] != first[0][1]
    done = 5
    assert list(order) == second[2:]
    halves = [list(ResumableBatchSampler(10, 4, 1, lambda: 0, rank, 2)) for rank in (0, 1)]
    whole = list(ResumableBatchSampler(10, 4, 1, lambda: 0))
    for (_, left), (_, right), (_, both) in zip(*halves, whole, strict=True):
        assert sorted(left + right) == sorted(both) and len(left) == len(right)


def test_in_order_shares_all_places() -> None:
    assert sequential_batches(5, 2) == [(0, [0, 1]), (0, [2, 3]), (0, [4])]
    places = [place for rank in (0, 1) for _, share in sequential_batches(5, 2, rank, 2) for place in share]
    assert sorted(places) == [0, 1, 2, 3, 4]


# What is wrong with a data set


@pytest.mark.parametrize("case", ["absent", "no split", "no classes", "empty class"])
def test_a_folder_that_cannot_be_trained_on_is_told_in_one_line(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "set"
    said = {
        "absent": "does not exist",
        "no split": "has cats; expected",
        "no classes": "has no folder of images a class",
        "empty class": "cat has no image in it",
    }
    folder = {"no split": root / "cats", "no classes": root / "train", "empty class": root / "train" / "cat"}
    if case in folder:
        folder[case].mkdir(parents=True)
    assert run(root, tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.startswith("error: ") and said[case] in error


def test_splits_of_other_classes_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_folders(tmp_path / "set", 3)
    write_image(tmp_path / "set" / "val" / "white" / "a.png", np.zeros((8, 8, 3), np.uint8))
    assert run(tmp_path / "set", tmp_path / "out") == 2
    assert "has 4 classes, train 3; they must be the same, and 'white'" in capsys.readouterr().err


def test_an_unknown_layout_and_an_unreadable_set_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="unknown layout"):
        open_image_folder("folders", tmp_path, "train")
    (tmp_path / "train" / "a").mkdir(parents=True)
    (tmp_path / "train" / "a" / "x.jpg").write_bytes(b"no picture")
    with pytest.raises(DatasetError, match="not one image"):
        ImageBatches(open_image_folder("imagefolder", tmp_path, "train"), 16, True)


# Settings


def test_every_recipe_resolves() -> None:
    for name in recipe_names(RECIPES):
        assert isinstance(resolve_settings(name, {}), ClassifierSettings)


def test_a_layout_brings_its_sizes_and_a_flag_overrides_a_recipe() -> None:
    settings = resolve_settings(None, {}, "cifar10")
    assert (settings.input_size, settings.picture_size, settings.val_split) == (32, 32, "test")
    assert resolve_settings("quick", {"epochs": 3}, "tiny-imagenet").epochs == 3
    with pytest.raises(SettingsError, match="too small"):
        resolve_settings(None, {"input_size": 4})


# Training


@pytest.fixture(scope="module")
def trained(folders: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("trained")
    assert run(folders, output, "--name", "three-colours") == 0
    return output


def test_it_learns_three_colours_and_writes_a_model(trained: Path) -> None:
    model = resolve(trained / "model")
    scores = {score["metric"]: score["value"] for score in model.card.scores}
    assert scores["top1"] > 90 and scores["top5"] == 100
    assert model.card.name == "three-colours" and model.card.architecture == "peleenet"
    assert model.card.class_names == ["blue", "green", "red"] and model.card.input_size == 48
    assert model.card.training["settings"]["size_phases"] == [[32, 0.6]]
    assert load_tensors(model)["classifier.1.weight"].shape == (3, 704)


def test_a_run_that_is_resumed_ends_as_if_it_had_never_stopped(folders: Path, trained: Path, tmp_path: Path) -> None:
    short = tmp_path / "run"
    words = ["--name", "three-colours", "--checkpoint-every", "5"]

    class Stop(Exception):
        pass

    from pelee.classification.training import lightning_module as module

    step = module.ClassifierModule.training_step

    def stopping(
        self: module.ClassifierModule, batch: module.ClassificationBatch, batch_idx: int
    ) -> torch.Tensor | None:
        if batch.step == 22:
            raise Stop
        return step(self, batch, batch_idx)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stop):
        patch.setattr(module.ClassifierModule, "training_step", stopping)
        run(folders, short, *words)
    assert run(folders, short, *words, "--resume") == 0
    straight = load_tensors(resolve(trained / "model"))
    for name, tensor in load_tensors(resolve(short / "model")).items():
        assert np.array_equal(tensor, straight[name]), name


def test_a_run_goes_on_with_its_own_settings_only(folders: Path, trained: Path, capsys: pytest.CaptureFixture) -> None:
    assert run(folders, trained, "--resume", "--mixup", "0.2") == 2
    assert "begun with mixup 0.0 and cannot go on with 0.2" in capsys.readouterr().err


def test_unreadable_pictures_are_counted_and_named_at_the_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_folders(tmp_path / "set", 4)
    for split in ("train", "val"):
        (root / split / "red" / "2.png").write_bytes(b"no picture")
    assert run(root, tmp_path / "out", "--epochs", "1") == 1
    error = capsys.readouterr().err
    assert "2 pictures could not be read" in error
    assert error.count("2.png") == 2
    assert resolve(tmp_path / "out" / "model").card.scores[0]["pictures"] == 11


def test_fine_tuning_replaces_a_head_of_other_classes_and_says_so(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_folders(tmp_path / "set", 4)
    for split in ("train", "val"):
        write_image(root / split / "white" / "a.png", np.full((8, 8, 3), 250, np.uint8))
    assert run(root, tmp_path / "out", "--epochs", "1", "--weights", str(trained / "model")) == 0
    said = capsys.readouterr().out
    assert "replaced (another shape): 2 tensors of classifier.1" in said
    assert resolve(tmp_path / "out" / "model").card.training["started_from"].startswith("three-colours, SHA-256")


# Distillation


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torchvision

    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("teacher") / "squeezenet.pth"
    torch.save(torchvision.models.mobilenet_v3_small(num_classes=7).state_dict(), file)
    return file


def test_a_teacher_s_head_is_trained_with_and_dropped(folders: Path, teacher: Path, tmp_path: Path) -> None:
    words = ["--teacher", str(teacher), "--teacher-model", "mobilenet_v3_small", "--teacher-size", "32"]
    assert run(folders, tmp_path, "--epochs", "1", *words) == 0
    names = set(load_tensors(resolve(tmp_path / "model")))
    assert not any("student_head" in name for name in names) and "classifier.1.weight" in names
    kept = (tmp_path / "teacher.safetensors").stat()
    (tmp_path / "last.ckpt").unlink()
    assert run(folders, tmp_path, "--epochs", "1", *words, "--lr", "0.01") == 0
    assert (tmp_path / "teacher.safetensors").stat().st_mtime_ns == kept.st_mtime_ns  # computed once


def test_the_teacher_s_loss_is_the_divergence_and_follows_its_mean_over_mirrors(folders: Path, teacher: Path) -> None:
    import torchvision

    from pelee.classification.training.distillation import distillation_loss, predict_logits
    from pelee.models.layers import IMAGENET_MEAN, IMAGENET_STD

    batches = ImageBatches(open_image_folder("imagefolder", folders, "val"), 32)
    ((places, said),) = predict_logits(teacher, "mobilenet_v3_small", batches, 32, torch.device("cpu"))
    assert places.tolist() == list(range(48)) and said.shape == (48, 7)
    network = torchvision.models.mobilenet_v3_small(num_classes=7).eval()
    network.load_state_dict(torch.load(teacher, weights_only=True))
    images = (batches[0, [5]].images - torch.tensor(IMAGENET_MEAN).view(3, 1, 1)) / torch.tensor(IMAGENET_STD).view(
        3, 1, 1
    )
    with torch.inference_mode():
        expected = (network(images) + network(images.flip(3))) / 2
    assert torch.allclose(said[5].float(), expected[0], atol=0.03)

    student = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    wanted = torch.tensor([[0.7, 0.3], [0.5, 0.5]])
    p = (student / 2).softmax(1)
    assert float(distillation_loss(student, wanted, 2.0)) == pytest.approx(
        float(4 * (wanted * (wanted / p).log()).sum(1).mean()), abs=1e-6
    )
    assert float(distillation_loss(wanted.log() * 3, wanted, 3.0)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("case", ["absent", "no state dict", "another architecture", "unknown architecture"])
def test_a_teacher_that_does_not_fit_is_one_line(case: str, teacher: Path, tmp_path: Path) -> None:
    from pelee.classification.training.distillation import load_teacher

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


def test_an_earlier_run_is_not_written_over(folders: Path, trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (trained / "last.ckpt").stat().st_mtime_ns
    assert run(folders, trained) == 2
    assert "holds an earlier run; go on with it by --resume" in capsys.readouterr().err
    assert (trained / "last.ckpt").stat().st_mtime_ns == before
