"""`pelee-models` prints what the paper and DESIGN count."""

import json

from detection.models_cli import main


def test_every_model_is_counted(capsys):
    assert main(["--json"]) == 0
    counted = {line["model"]: line for line in map(json.loads, capsys.readouterr().out.splitlines())}
    assert counted["peleenet"]["parameters"] == 2_802_248
    assert round(counted["peleenet"]["multiply_adds"] / 1e6) == 508
    assert counted["pelee-voc"]["parameters"] == 5_427_172
    assert counted["pelee-voc"]["output_shapes"] == [[1, 5142, 21], [1, 5142, 4]]
    assert counted["pelee-coco"]["parameters"] == 5_982_292
    assert counted["peleenet"]["weights"] == "peleenet-tiny-imagenet"
    assert counted["pelee-coco"]["weights"] is None


def test_the_table_names_shapes(capsys):
    assert main(["pelee-voc"]) == 0
    text = capsys.readouterr().out
    assert "5,427,172" in text and "1,205 M" in text and "1×3×304×304" in text and "1×5142×21" in text
    assert "peleenet" not in text


def test_an_unknown_model_suggests_the_nearest(capsys):
    assert main(["pelee-vok"]) == 2
    assert "did you mean 'pelee-voc'?" in capsys.readouterr().err
