"""Value ranges of deep images."""

import numpy as np
import pytest

from data.images.value_range import to_uint8, value_range


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        ("u2", [0, 200], (0, 255)),
        ("u2", [3, 256], (0, 1023)),
        ("u2", [64, 3104], (0, 4095)),  # 12 bits in 16
        ("u2", [0, 9999], (0, 16383)),
        ("u2", [0, 16384], (0, 65535)),
        ("i2", [0, 16384], (0, 32767)),
        ("i2", [-5, 100], (-5, 100)),
        ("i1", [0, 9], (0, 127)),
        ("i4", [0, 65535], (0, 65535)),
        ("i4", [0, 65536], (0, 65536)),
        ("u4", [7, 2**32 - 1], (7, 2**32 - 1)),
        ("f4", [0, 0.3], (0, 1)),
        ("f4", [0, 1.5], (0, 255)),
        ("f4", [np.nan, 300], (0, 65535)),
        ("f4", [-1, np.inf], (-1, 0)),
    ],
)
def test_the_smallest_depth_that_holds_the_values(kind: str, values: list, expected: tuple[float, float]) -> None:
    array = np.array(values, kind)
    assert value_range([array]) == expected == value_range([array[:1], array[1:]])


def test_scaling() -> None:
    assert to_uint8(np.array([[-5, 0, 5]], np.int16), -5, 5).tolist() == [[0, 128, 255]]
    assert to_uint8(np.array([np.nan, 1, np.inf], np.float32), 0, 1).tolist() == [0, 255, 0]
    assert to_uint8(np.array([7, 7]), 7, 7).tolist() == [0, 0]
