"""Four pictures learnt by heart: what is taught can be read back, through matching, loss, decoding and suppression."""

from data.datasets.registry import open_dataset
from detection.commands.overfit import main
from detection.training.overfit_check import overfit


def test_four_pictures_are_memorised_from_random_weights(voc_root):
    dataset = open_dataset("voc", voc_root, "2007-trainval")
    records = [record for record in dataset.records if len(record.labels)][:4]
    assert overfit(records, dataset.class_names, steps=60, size=96) > 0.9


def test_the_command_fails_where_nothing_was_learnt(voc_root, capsys):
    assert main(["--root", str(voc_root), "--steps", "1", "--input-size", "64"]) == 1
    assert "expected: over 90" in capsys.readouterr().out


def test_the_command_tells_a_missing_root_in_one_line(tmp_path, capsys):
    assert main(["--root", str(tmp_path / "absent")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
