"""Datasets of training and evaluation images."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data.datasets.records import Record
from data.datasets.registry import open_dataset
from data.errors import ImageError
from data.images.image_io import write_image
from detection.training.dataset import EpochLoader, EvaluationDataset, Sample, TrainDataset, collate, fingerprint
from detection.training.sampler import ResumableBatchSampler, SampleRequest
from detection.training.settings import TrainSettings
from tests.support.label_records import records


def test_collate() -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (64, 64, 3), dtype=np.uint8) for _ in range(2)]
    boxes = np.array([[0.1, 0.2, 0.3, 0.4]], np.float32)
    empty = np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
    batch = collate([Sample(images[0], boxes, np.array([5]), []), Sample(images[1], *empty, ["a.jpg: torn"])])
    assert batch.unreadable == ["a.jpg: torn"]
    assert batch.images.dtype == torch.uint8
    assert batch.images.shape == (2, 3, 64, 64)
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(batch.images[1, :, 10, 20], torch.from_numpy(images[1][10, 20]))  # channels of one pixel
    assert torch.equal(batch.targets[0].boxes, torch.from_numpy(boxes))
    assert batch.targets[0].labels.tolist() == [5]
    assert batch.targets[1].boxes.shape == (0, 4)
    assert batch.targets[1].labels.shape == (0,)
    assert batch.counts == [1, 0] and sum(isinstance(part, torch.Tensor) for part in batch) == 3


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_at_a_time_from_workers_that_go_on(voc_root: Path, workers: int) -> None:
    """Two epochs, the first resumed in its middle, from one set of worker processes."""
    records = open_dataset("voc", voc_root, "trainval").records
    settings = TrainSettings(batch_size=2, epochs=2, input_size=64)
    per_epoch = settings.steps_per_epoch(len(records))
    assert per_epoch > 1
    step = 1
    sampler = ResumableBatchSampler(records, 20, settings, lambda: step)
    expected = list(sampler)
    loader = EpochLoader(TrainDataset(records, settings), sampler, workers, pin_memory=False)
    first = list(loader)
    processes = getattr(loader._running, "_workers", [])
    step = per_epoch
    second = list(loader)
    assert (len(first), len(second), len(loader)) == (per_epoch - 1, per_epoch, per_epoch)
    assert len(processes) == workers and processes == getattr(loader._running, "_workers", [])
    pictures = TrainDataset(records, settings)
    for batch, samples in zip([*first, *second], expected, strict=True):
        assert torch.equal(batch.images, collate([pictures[sample] for sample in samples]).images)
    loader.close()
    assert not any(process.is_alive() for process in processes)


@pytest.mark.parametrize("mosaic", [0.0, 1.0])
def test_a_sample_decides_a_training_image(voc_root: Path, mosaic: float) -> None:
    dataset = open_dataset("voc", voc_root, "trainval")
    pictures = TrainDataset(dataset.records, TrainSettings(mosaic=mosaic))
    sample = SampleRequest(1, 96, (0, 3, 7))
    image, boxes, labels, _ = pictures[sample]
    assert image.shape == (96, 96, 3) and image.dtype == np.uint8
    assert boxes.shape == (len(labels), 4) and boxes.min(initial=0) >= 0 and boxes.max(initial=1) <= 1
    pictures[SampleRequest(0, 64, (0, 0, 0))]  # another image of another size in between changes nothing
    again = TrainDataset(dataset.records, TrainSettings(mosaic=mosaic))[sample]
    for one, other in zip((image, boxes, labels), pictures[sample][:3], strict=True):
        assert np.array_equal(one, other)
    assert np.array_equal(image, again[0])
    assert not np.array_equal(image, pictures[SampleRequest(1, 96, (0, 4, 7))][0])


@pytest.mark.parametrize("ingredient", ["mixup", "copy_paste"])
def test_mixing_adds_objects_and_is_decided_by_the_sample(voc_root: Path, ingredient: str) -> None:
    dataset = open_dataset("voc", voc_root, "trainval")
    plain = TrainDataset(dataset.records, TrainSettings())
    mixing = TrainDataset(dataset.records, TrainSettings(**{ingredient: 1.0}))
    more = 0
    for number in range(8):
        sample = SampleRequest(number, 96, (0, 0, number))
        (image, boxes, labels, _), (before, own, _, _) = mixing[sample], plain[sample]
        assert image.shape == (96, 96, 3) and len(boxes) == len(labels)
        np.testing.assert_array_equal(boxes[: len(own)], own)  # off, it changes no random number
        more += len(boxes) > len(own)
        assert len(boxes) == len(own) or not np.array_equal(image, before)
        np.testing.assert_array_equal(image, mixing[sample][0])
    assert more > 0


def dotted(path: Path, crowd: bool = False) -> Record:
    """A gray image of 200 × 100 with a red object at its left, its only red."""
    image = np.full((100, 200, 3), 90, np.uint8)
    image[20:80, 20:90] = (255, 0, 0)
    write_image(path, image)
    box = np.array([[20, 20, 90, 80]], np.float32)
    return Record(
        path, path.stem, box, np.array([0]), np.array([not crowd]), np.array([crowd]), np.array([4200.0], np.float32)
    )


@pytest.mark.slow
@pytest.mark.parametrize("crowd", [False, True])
def test_backgrounds_have_no_object_inside_and_their_share_is_that_of_the_setting(tmp_path: Path, crowd: bool) -> None:
    """Difficult objects and crowds count as objects, too. Red is more than twice the green in any distorted object."""
    dataset = TrainDataset([dotted(tmp_path / "a.png", crowd)], TrainSettings(backgrounds=1.0))
    for number in range(60):
        image, boxes, labels, _ = dataset[SampleRequest(0, 64, (0, 0, number))]
        assert (image.shape, boxes.shape, labels.shape) == ((64, 64, 3), (0, 4), (0,))
        assert image.astype(int).std(axis=(0, 1)).max() < 1.5, "one color: no part of the object"
    np.testing.assert_array_equal(image, dataset[SampleRequest(0, 64, (0, 0, 59))][0])
    some = TrainDataset(dataset.records, TrainSettings(backgrounds=0.25))
    uniform = [some[SampleRequest(0, 64, (0, 0, number))][0].std(axis=(0, 1)).max() < 1.5 for number in range(400)]
    plain = [number for number in range(400) if np.random.default_rng((0, 0, number)).random() >= 0.25]
    assert sum(uniform) >= 400 - len(plain) and 70 <= 400 - len(plain) <= 130
    assert {number for number in range(400) if number not in plain} <= {n for n, one in enumerate(uniform) if one}


@pytest.mark.slow
def test_an_image_full_of_objects_gives_no_background_and_another_does(tmp_path: Path) -> None:
    full = dataclasses.replace(dotted(tmp_path / "full.png"), boxes=np.array([[0, 0, 200, 100]], np.float32))
    alone = TrainDataset([full], TrainSettings(backgrounds=1.0))
    plain = TrainDataset([full], TrainSettings())
    labels = [alone[SampleRequest(0, 64, (0, 0, number))].labels.tolist() for number in range(20)]
    assert [0] in labels, "an ordinary sample instead"
    assert plain[SampleRequest(0, 64, (0, 0, 1))].labels.shape == (1,)
    both = TrainDataset([full, dotted(tmp_path / "a.png")], TrainSettings(backgrounds=1.0))
    assert all(not len(both[SampleRequest(0, 64, (0, 0, number))].labels) for number in range(20))


def test_crowds_are_not_trained_on_and_difficult_objects_are(voc_root: Path) -> None:
    record = open_dataset("voc", voc_root, "trainval").records[1]
    assert len(record.labels) == 2
    flagged = Record(
        record.image,
        record.image_id,
        np.tile(np.array([[20, 20, 90, 80]], np.float32), (3, 1)),
        np.array([0, 1, 2]),
        np.array([True, False, False]),
        np.array([False, True, False]),
        np.full(3, 4200, np.float32),
    )
    pictures = TrainDataset([flagged], TrainSettings())
    found = [label for seed in range(30) for label in pictures[SampleRequest(0, 64, (0, 0, seed))][2].tolist()]
    assert set(found) == {0, 2}


@pytest.mark.slow
@given(st.integers(0, 30), st.integers(1, 5))
def test_every_evaluation_image_falls_to_one_process(count: int, world_size: int) -> None:
    shares = [EvaluationDataset(records([[0]] * count), 64, rank, world_size) for rank in range(world_size)]
    indices = [index for share in shares for index in share.indices]
    assert sorted(indices) == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_evaluation_images_know_their_record_and_size(voc_root: Path) -> None:
    dataset = open_dataset("voc", voc_root, "val")
    share = EvaluationDataset(dataset.records, 96, rank=1, world_size=3)
    assert [share[place][0] for place in range(len(share))] == [1]
    _, image, width, height, error = share[0]
    assert not error
    assert (image.shape, width, height) == ((96, 96, 3), 120, 90)
    assert image.dtype == np.uint8


def test_images_that_cannot_be_read_are_replaced_and_named(own_voc_root: Path) -> None:
    folder = own_voc_root / "VOC2007" / "JPEGImages"
    cut = (folder / "000002.jpg").read_bytes()[:400]
    dataset = open_dataset("voc", own_voc_root, "trainval")
    (folder / "000002.jpg").write_bytes(cut)
    samples = TrainDataset(dataset.records, TrainSettings())
    batch = collate([samples[SampleRequest(place, 64, (0, 0, 5))] for place in (2, 3)])
    (error,) = batch.unreadable
    assert "000002.jpg" in error
    assert torch.equal(batch.images[0], batch.images[1])  # the third image stands in for the second
    measured = EvaluationDataset(dataset.records, 64)[2]
    assert measured.record == 2 and "000002.jpg" in measured.error and not measured.image.any()
    for record in dataset.records:
        assert isinstance(record.image, Path)
        record.image.write_bytes(cut)
    with pytest.raises(ImageError, match="no training image can be read"):
        samples[SampleRequest(0, 64, (0, 0, 5))]


def test_a_fingerprint_tells_data_apart_and_not_folders(voc_root: Path, own_voc_root: Path) -> None:
    one, other = (open_dataset("voc", root, "trainval") for root in (voc_root, own_voc_root))
    assert fingerprint(one) == fingerprint(other)
    assert fingerprint(one) != fingerprint(dataclasses.replace(one, records=one.records[:-1]))
    other.records[0].boxes[0, 0] += 1
    assert fingerprint(one) != fingerprint(other)
