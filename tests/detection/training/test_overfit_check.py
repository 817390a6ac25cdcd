"""Overfit check on four images, through matching, loss, decoding and NMS."""

from data.datasets.registry import open_dataset
from detection.training.overfit_check import overfit


def test_four_images_are_overfitted_from_random_weights(voc_root):
    dataset = open_dataset("voc", voc_root, "2007-trainval")
    records = [record for record in dataset.records if len(record.labels)][:4]
    assert overfit(records, dataset.class_names, steps=60, size=96) > 0.9
