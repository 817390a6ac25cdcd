"""Caffe's weights file: layers, blobs and parameters; damaged files are refused in one line, without their memory."""

import os
import struct
from pathlib import Path

import numpy as np
import pytest

from data.errors import WeightsError
from pelee.importing.caffemodel import MAX_BYTES, MAX_FIELDS, floats, integers, parse_network, read_caffemodel
from tests.support.caffe_teacher import caffe_layer, field, varint
from tests.support.published_weights import flag, number


def test_blobs_are_read_by_the_layers_names() -> None:
    first, second = np.arange(6.0).reshape(2, 3), np.array([-1.5])
    content = (
        varint(3 << 3 | 5)
        + struct.pack("<f", 2.0)
        + varint(4 << 3 | 1)
        + bytes(8)
        + caffe_layer("a", first, second)
        + caffe_layer("b")
    )
    found = parse_network(content)
    assert list(found) == ["a", "b"] and found["b"].blobs == () and found["a"].kind == "Convolution"
    assert [blob.tolist() for blob in found["a"].blobs] == [[[0, 1, 2], [3, 4, 5]], [-1.5]]


def layer(*parts: bytes) -> bytes:
    return field(100, b"".join([field(1, b"a"), *parts]))


def test_blob_of_the_old_shape_and_of_doubles() -> None:
    legacy = flag(1, 1) + flag(2, 1) + flag(3, 2) + flag(4, 3) + field(5, np.arange(6, dtype="<f4").tobytes())
    doubles = field(8, np.array([0.5, 1.5]).tobytes())
    blobs = parse_network(layer(field(7, legacy), field(7, doubles)))["a"].blobs
    assert blobs[0].shape == (1, 1, 2, 3)
    assert blobs[1].tolist() == [0.5, 1.5] and blobs[1].dtype == np.float32


def test_parameters_are_packed_or_not() -> None:
    packed = field(1, np.array([1, 2], "<f4").tobytes()) + field(2, varint(300) + varint(1))
    single = number(1, 1) + number(1, 2) + flag(2, 300) + flag(2, 1)
    for content in (packed, single):
        parameters = parse_network(layer(field(203, content)))["a"].parameters(203)
        assert parameters is not None
        assert floats(parameters, 1) == [1, 2] and integers(parameters, 2) == [300, 1] and floats(parameters, 9) == []
    assert parse_network(layer())["a"].parameters(203) is None


BLOB = field(7, field(1, varint(2))) + field(5, bytes(8))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", "no layers", id="empty"),
        pytest.param(field(2, b"old"), "format before 2014", id="old format"),
        pytest.param(layer(field(7, BLOB))[:-1], "cut short", id="truncated"),
        pytest.param(
            varint(100 << 3 | 2) + varint(8 << 30) + b"x", "8,589,934,592 bytes where 1 are left", id="claims"
        ),
        pytest.param(layer(varint(7 << 3 | 2) + varint(1 << 62)), "cut short", id="claims inside a layer"),
        pytest.param(layer(field(7, field(7, field(1, varint(1 << 40))))), "0 arrays of values", id="without values"),
        pytest.param(
            layer(field(7, field(7, field(1, varint(1 << 40))) + field(5, bytes(8)))),
            "has 2 values",
            id="claims a shape",
        ),
        pytest.param(layer(field(7, field(5, bytes(7)))), "no whole number", id="half a value"),
        pytest.param(layer(flag(7, 3)), "a number where a message", id="number for a blob"),
        pytest.param(b"\xff" * 40, "more than ten bytes", id="endless number"),
        pytest.param(b"\x80", "cut short in a number", id="half a number"),
        pytest.param(varint(3 << 3 | 3), "wire type 3", id="group"),
        pytest.param(varint(2) + b"\x00", "field of number 0", id="field 0"),
        pytest.param(varint(1 << 3) + b"\x01" + (varint(1 << 3) + b"\x01") * MAX_FIELDS, "fields in one", id="flood"),
        pytest.param(layer(field(7, BLOB)) * 2, "two layers a", id="twice"),
        pytest.param(field(100, field(1, b"\xff\xfe")), "can't decode", id="name"),
    ],
)
def test_other_bytes_are_refused_in_one_line(content: bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "file.caffemodel"
    file.write_bytes(content)
    with pytest.raises(WeightsError, match=r"is not a \.caffemodel") as caught:
        read_caffemodel(file)
    assert message in str(caught.value) and str(file) in str(caught.value) and "\n" not in str(caught.value)


def test_text_and_size_and_absence_are_said(tmp_path: Path) -> None:
    prototxt, huge = tmp_path / "deploy.prototxt", tmp_path / "huge.caffemodel"
    prototxt.write_text('name: "pelee"\nlayer { name: "data" type: "Input" }\n')
    with pytest.raises(WeightsError, match=r"prototxt.*expected its \.caffemodel"):
        read_caffemodel(prototxt)
    huge.touch()
    os.truncate(huge, MAX_BYTES + 1)  # sparse: takes no disk
    with pytest.raises(WeightsError, match="at most"):
        read_caffemodel(huge)
    with pytest.raises(WeightsError, match="no such file"):
        read_caffemodel(tmp_path / "none.caffemodel")
