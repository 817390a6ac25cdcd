"""The index: names of folders. What it holds is tested with the reader and with the packing."""

import pytest

from data.packed.packed_index import folder_name


@pytest.mark.parametrize(
    ("split", "name"),
    [
        ("2007-trainval,2012-trainval", "2007-trainval,2012-trainval"),
        ("train", "train"),
        ("a/b", "a%2Fb"),
        ("..", "%2E."),
        ("größe", "gr%C3%B6%C3%9Fe"),
        ("50%", "50%25"),
    ],
)
def test_folder_names(split: str, name: str) -> None:
    assert folder_name(split) == name
