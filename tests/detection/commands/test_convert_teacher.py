"""Conversion of the Caffe teacher: the written file, errors."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from detection.commands.convert_teacher import main
from tests.support.caffe_teacher import caffe_layer, field, teacher_layers, teacher_tensors


@pytest.mark.slow
def test_converted_file_holds_the_weights_by_module(tmp_path: Path) -> None:
    caffemodel, output = tmp_path / "teacher.caffemodel", tmp_path / "teacher.safetensors"
    layers = [caffe_layer(*layer) for layer in teacher_layers(0)]
    # The network's name, and a head that the teacher does not have: both are skipped.
    caffemodel.write_bytes(field(1, b"MobileNet-SSD") + b"".join(layers) + caffe_layer("mbox_loc", np.ones((4, 2))))
    assert main([str(caffemodel), str(output)]) == 0
    found, wanted = load_file(output), teacher_tensors(0)
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        np.testing.assert_array_equal(found[name], tensor)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        (b"PK\x03\x04 no model", "is not a .caffemodel"),
        (field(100, field(1, b"conv0"))[:-2], "is not a .caffemodel"),
        (b"", "is not a .caffemodel (no layers)"),
        (caffe_layer("data"), "has no layer conv0"),
        (caffe_layer("conv0", np.ones((32, 3, 3, 3)), np.ones(31)), "has no layer conv0"),
    ],
)
def test_another_file_is_refused_in_one_line(
    tmp_path: Path, content: bytes | None, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file.caffemodel"
    if content is not None:
        file.write_bytes(content)
    assert main([str(file), str(tmp_path / "teacher.safetensors")]) == 2
    error = capsys.readouterr().err
    assert message in error and str(file) in error and error.count("\n") == 1
    assert not (tmp_path / "teacher.safetensors").exists()
