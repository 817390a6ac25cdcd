"""Four pictures learnt by heart: what is taught can be read back, through matching, loss, decoding and suppression."""

from data.datasets.registry import open_dataset
from detection.training.overfit_check import overfit


def test_four_pictures_are_memorised_from_random_weights(voc_root):
    dataset = open_dataset("voc", voc_root, "2007-trainval")
    records = [record for record in dataset.records if len(record.labels)][:4]
    assert overfit(records, dataset.class_names, steps=60, size=96) > 0.9
