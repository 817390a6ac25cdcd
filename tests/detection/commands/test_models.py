"""`pelee-models` prints what the paper and DESIGN count."""

import json
import re

import pytest

from detection.commands.models import main
from detection.models.registry import published_designs
from pelee.models import registry


@pytest.mark.slow
def test_models_are_counted(capsys):
    assert main(["--json", "-", "peleenet", *published_designs()]) == 0
    counted = {line["model"]: line for line in map(json.loads, capsys.readouterr().out.splitlines())}
    assert counted["peleenet"]["parameters"] == 2_802_248
    assert round(counted["peleenet"]["multiply_adds"] / 1e6) == 508
    assert counted["pelee-voc"]["parameters"] == 5_427_172
    assert counted["pelee-voc"]["output_shapes"] == [[1, 5142, 21], [1, 5142, 4]]
    assert counted["pelee-coco"]["parameters"] == 5_982_292
    assert counted["peleenet"]["weights"] == "peleenet-tiny-imagenet"
    assert counted["pelee-coco"]["weights"] is None
    assert counted["ssdlite-mobilenetv2-voc"]["output_shapes"] == [[1, 1917, 21], [1, 1917, 4]]
    assert counted["ssdlite-mobilenetv2-coco"]["parameters"] == 4_337_013


@pytest.mark.slow
def test_all_models_in_groups_where_none_is_named(capsys, monkeypatch):
    """PeleeNets, other classifiers, detectors: an empty line between them, and each is there."""
    kept = ("peleenet", "peleenet-m0", "cnn-795k", "alexnet-32")
    monkeypatch.setattr(registry, "MODELS", {name: registry.MODELS[name] for name in kept})
    assert main([]) == 0
    body = re.split(r"─\s*\n", capsys.readouterr().out)[-1]
    groups = [[line.split()[0] for line in block.splitlines()] for block in re.split(r"\n\s*\n", body.strip())]
    assert groups[:2] == [["peleenet", "peleenet-m0"], ["cnn-795k", "alexnet-32"]]
    assert set(published_designs()) <= {name for group in groups[2:] for name in group}


@pytest.mark.slow
def test_classifiers_with_other_classes_and_the_report_s_count(capsys):
    assert main(["--classes", "198", "--json", "-", "peleenet-m0", "peleenet-m6", "cnn-795k"]) == 0
    counted = {line["model"]: line for line in map(json.loads, capsys.readouterr().out.splitlines())}
    assert counted["peleenet-m0"]["report_parameters"] == 621_174
    assert counted["peleenet-m6"]["report_parameters"] == 2_251_430
    # all its convolutions have biases, none a batch norm; two classes fewer than the published 200
    assert counted["cnn-795k"]["report_parameters"] == counted["cnn-795k"]["parameters"] == 795_000 - 2 * 513
    assert counted["cnn-795k"]["output_shapes"] == [[1, 198]]
    assert main(["--num-classes", "10", "peleenet-m0"]) == 0
    assert "554,810" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--num-classes", "0"], "--num-classes is 0; expected at least 1"),
        (["--num-classes", "10", "pelee-voc"], "--num-classes is for classifiers, and pelee-voc is a detector"),
    ],
)
def test_classes_that_do_not_fit(words, message, capsys):
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and message in error


@pytest.mark.slow
def test_the_table_names_shapes(capsys):
    assert main(["pelee-voc"]) == 0
    text = capsys.readouterr().out
    assert "5,427,172" in text and "1,205 M" in text and "1×3×304×304" in text and "1×5142×21" in text
    assert "peleenet" not in text


def test_an_unknown_model_suggests_the_nearest(capsys):
    assert main(["pelee-vok"]) == 2
    assert "did you mean 'pelee-voc'?" in capsys.readouterr().err
