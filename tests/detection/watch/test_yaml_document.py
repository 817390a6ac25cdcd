from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import pytest

from data.errors import SettingsError
from detection.watch.yaml_document import SettingFault, YamlDocument


class Color(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Inner:
    size: float = 1.0
    deep: bool = False

    def __post_init__(self) -> None:
        if self.size <= 0:
            raise SettingFault("size", "expected a number above 0")


@dataclass(frozen=True)
class Outer:
    name: str
    count: int = 3
    colors: tuple[Color, ...] = ()
    password: str | None = None
    inner: dict[str, Inner] = field(default_factory=dict)


def parse(text: str) -> tuple[Outer | None, list[str]]:
    document = YamlDocument.of_text(text, "watch.yaml")
    return document.parse(Outer), document.faults


def test_values_become_the_types_of_the_fields() -> None:
    text = (
        "name: no\ncount: 4\ncolors: [red, blue]\npassword: null\ninner:\n  null: {size: 2, deep: yes}\n  22:00: {}\n"
    )
    parsed, faults = parse(text)
    assert faults == []
    assert parsed == Outer("no", 4, (Color.RED, Color.BLUE), "null", {"null": Inner(2.0, True), "22:00": Inner()})
    assert parse("name: a\ncolors: red\npassword:\n")[0] == Outer("a", 3, (Color.RED,), None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("count: 3\n", "watch.yaml: 'name' is missing"),
        ("name: a\ncuont: 3\n", "watch.yaml, line 2: cuont: unknown key; did you mean 'count'?"),
        ("name: a\ncount: many\n", "watch.yaml, line 2: count: found 'many'; expected a whole number"),
        ("name: a\ncount: 1.5\n", "watch.yaml, line 2: count: found '1.5'; expected a whole number"),
        ("name:\n", "watch.yaml, line 1: name: found nothing; expected a value"),
        ("name: [a]\n", "watch.yaml, line 1: name: found a list; expected one value"),
        ("name: a\ncolors:\n  - red\n  - bleu\n", "watch.yaml, line 4: colors[1]: found 'bleu'; did you mean 'blue'?"),
        ("name: a\ninner:\n  x:\n    size: -1\n", "watch.yaml, line 4: inner.x.size: expected a number above 0"),
        (
            "name: a\ninner:\n  x:\n    size: .inf\n",
            "watch.yaml, line 4: inner.x.size: found '.inf'; expected a number",
        ),
        ("name: a\ninner:\n  x: {deep: 2}\n", "watch.yaml, line 3: inner.x.deep: found '2'; expected true or false"),
        ("name: a\ninner: [1]\n", "watch.yaml, line 2: inner: found a list; expected names with values below them"),
        ("name: a\nname: b\n", "watch.yaml, line 2: name: the key is in line 1 already; expected it once"),
        ("name: ${UNSET_9}\n", "watch.yaml, line 1: name: the environment has no variable UNSET_9; set it"),
        ("name: ${a b}\n", "watch.yaml, line 1: name: ${a b} is no variable of the environment"),
    ],
)
def test_a_fault_has_line_and_key(text: str, expected: str) -> None:
    parsed, faults = parse(text)
    assert parsed is None or "already" in expected or "environment" in expected
    assert faults and faults[0].startswith(expected), faults


def test_all_faults_are_listed() -> None:
    _, faults = parse("nmae: a\ncount: x\ninner:\n  a: {size: 0}\n  b: {depe: 1}\n")
    assert len(faults) == 5


@pytest.mark.parametrize(
    ("text", "line"),
    [("a: [1\nb: 2\n", 2), ("a: b\n\tc: d\n", 2), ("a: *nothing\n", 1), ("a: 1\n---\nb: 2\n", 2), ("<<: 3\n", 1)],
)
def test_text_that_is_no_yaml_is_one_line(text: str, line: int) -> None:
    with pytest.raises(SettingsError, match=rf"^watch.yaml, line {line}: is no valid YAML: [^\n]+$"):
        YamlDocument.of_text(text, "watch.yaml")


@pytest.mark.slow
@pytest.mark.parametrize("text", ["", "# only a comment\n", "- a\n", "word", "a: &x [*x]\n", "a: " + "[" * 5000])
def test_documents_of_another_shape(text: str) -> None:
    with pytest.raises(SettingsError, match=r"^watch.yaml[^\n]+$"):
        YamlDocument.of_text(text, "watch.yaml")


def test_anchors_and_merges() -> None:
    text = "base: &base\n  size: 2\n  deep: yes\ninner:\n  x:\n    <<: *base\n    size: 5\n"
    document = YamlDocument.of_text(text)
    assert document.parse(Inner, "inner", "x") == Inner(5.0, True)
    assert document.line("inner", "x", "size") == 7 and document.line("inner", "x", "deep") == 3


def test_variables_are_replaced_and_kept_out_of_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMERA_PASSWORD", "hunter2")
    document = YamlDocument.of_text("source: rtsp://user:${CAMERA_PASSWORD}@host\ncount: ${CAMERA_PASSWORD}\n")
    assert document.parse(str, "source") == "rtsp://user:hunter2@host"
    document.parse(int, "count")
    assert document.faults == ["settings, line 2: count: found '${CAMERA_PASSWORD}'; expected a whole number"]
    with pytest.raises(SettingsError, match="line 2: count"):
        document.check()


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        YamlDocument.read(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes("a: é\n".encode("latin-1"))
    with pytest.raises(SettingsError, match="UTF-8"):
        YamlDocument.read(tmp_path / "latin.yaml")
    (tmp_path / "bom.yaml").write_bytes("a: é\n".encode("utf-8-sig"))
    assert YamlDocument.read(tmp_path / "bom.yaml").values == {"a": "é"}
