"""Files of a split: never over existing ones. Their contents are tested with the command that writes them."""

from pathlib import Path

import pytest

from data.datasets.registry import FORMATS
from data.errors import DatasetError
from data.splitting.split_files import WRITERS, write_split
from tests.support.dataset_records import CAT, dataset, record


def test_existing_files_are_kept(tmp_path: Path) -> None:
    records = [record(tmp_path / f"{name}.png", [[0, 0, 9, 9]], [CAT]) for name in "ab"]
    parts = {"train": records[:1], "val": records[1:]}
    (tmp_path / "val.txt").write_text("mine")
    with pytest.raises(DatasetError, match=r"val\.txt exists"):
        write_split("voc", dataset(records), {}, parts, tmp_path)
    assert (tmp_path / "val.txt").read_text() == "mine" and not (tmp_path / "train.txt").exists()
    files = write_split("voc", dataset(records), {}, parts, tmp_path / "new")
    assert [file.read_text() for file in files] == ["a\n", "b\n"]


def test_writers_are_of_known_formats() -> None:
    assert set(WRITERS) <= set(FORMATS)
