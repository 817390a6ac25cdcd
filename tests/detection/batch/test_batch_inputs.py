"""Inputs of a batch: folders, patterns, lists, tar shards, Parquet files; what cannot be used is one line."""

import re
from pathlib import Path

import pytest

from detection.batch.batch_inputs import PlanEntry, find_entries

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def find(*inputs: Path | str, output: str = "/nonexistent", column: str | None = None) -> tuple[list[PlanEntry], list]:
    problems: list[str] = []
    return list(find_entries([str(item) for item in inputs], output, column, problems.append)), problems


@pytest.mark.slow
def test_a_folder_gives_its_images_and_shards_but_not_the_results(photos: Path) -> None:
    (photos / "train-00000.tar").touch()
    (photos / "notes.txt").touch()
    (photos / "out").mkdir()
    pq.write_table(pa.table({"image": [b"x"]}), photos / "out" / "part-00000-000000.parquet")
    found, problems = find(photos, output=str(photos / "out"))
    assert not problems and sorted(Path(entry.source).name for entry in found) == [
        "astronaut.jpg",
        "cat.jpg",
        "cut.jpg",
        "text.jpg",
        "train-00000.tar",
    ]
    assert {entry.kind for entry in found if entry.images < 0} == {"tar"}


def test_patterns_and_names(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos)
    found, problems = find("c*.jpg", "cat.jpg")
    assert [entry.source for entry in found] == [str(photos / name) for name in ("cat.jpg", "cut.jpg", "cat.jpg")]
    assert not problems


def test_each_argument_that_names_nothing_is_a_line_and_the_others_go_on(photos: Path) -> None:
    found, problems = find(photos / "absent", photos / "*.png", photos / "cat.jpg", "foo://host/a.jpg")
    assert len(found) == 1
    assert len(problems) == 3 and "no such file" in problems[0] and "nothing matches" in problems[1]
    assert problems[2].startswith("foo://") and "\n" not in "".join(problems)


def test_a_list_is_relative_to_its_folder_and_may_have_addresses(photos: Path) -> None:
    (photos / "list.txt").write_text("cat.jpg\n\n sub/astronaut.jpg\nhttp://host/x.jpg?id=1\nother.txt")
    found, _ = find(photos / "list.txt")
    assert [entry.source for entry in found] == [
        str(photos / "cat.jpg"),
        str(photos / "sub" / "astronaut.jpg"),
        "http://host/x.jpg?id=1",
        str(photos / "other.txt"),
    ]
    assert {entry.kind for entry in found} == {"image"}


def test_row_groups_of_bytes(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": [1, 2, 3], "jpg": [b"a", b"b", b"c"]}), tmp_path / "a.parquet", row_group_size=2)
    found, _ = find(tmp_path / "a.parquet")
    assert [(entry.row_group, entry.first_row, entry.images, entry.column) for entry in found] == [
        (0, 0, 2, "jpg"),
        (1, 2, 1, "jpg"),
    ]


def test_the_struct_of_hugging_face(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": [{"bytes": b"a", "path": "a.jpg"}], "label": [1]}), tmp_path / "a.parquet")
    assert [entry.column for entry in find(tmp_path / "a.parquet")[0]] == ["image.bytes"]


def test_a_column_of_paths(tmp_path: Path) -> None:
    pq.write_table(pa.table({"path": ["x/a.jpg", None, "http://host/b.jpg"], "label": [1, 2, 3]}), tmp_path / "a.pq")
    assert [entry.source for entry in find(tmp_path / "a.pq")[0]] == [f"{tmp_path}/x/a.jpg", "http://host/b.jpg"]


@pytest.mark.parametrize(
    ("columns", "column", "line"),
    [
        ({"a": [b"x"], "b": [b"y"]}, None, r"several columns with bytes \(a, b\).*--column"),
        ({"a": [1]}, None, "no images in a"),
        ({"a": [1]}, "a", "holds int64"),
        ({"a": [b"x"]}, "b", "no column 'b', expected one of a"),
    ],
)
def test_other_columns_are_an_error(tmp_path: Path, columns: dict, column: str | None, line: str) -> None:
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    found, problems = find(tmp_path / "a.parquet", column=column)
    assert not found and len(problems) == 1
    assert re.search(line, problems[0])


def test_a_file_that_is_no_parquet_is_a_line(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_text("nothing of that kind, but long enough to be looked at")
    found, problems = find(tmp_path / "a.parquet")
    assert not found and len(problems) == 1 and "no Parquet file" in problems[0]
