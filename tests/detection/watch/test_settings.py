from pathlib import Path

import pytest

from detection.watch.event import EventKind
from detection.watch.settings import RuleSettings, WatchSettings
from detection.watch.yaml_document import YamlDocument

GOOD = """\
model: pelee-voc
timezone: Europe/Berlin
cameras:
  yard:
    source: rtsp://user:secret@10.0.0.2/stream
    size: 1280x720
    rate: 5
    zones:
      lawn: [[0.1, 0.1], [0.9, 0.1], [0.9, 0.9]]
    lines:
      gate: [[0, 0.5], [1, 0.5]]
  door:
    source: cam0
rules:
  people:
    cameras: yard
    labels: [person]
    kinds: [entered, left]
    hours: 22:00-06:00
  cars:
    labels: car
    min_score: 0.5
    min_size: 0.01
recording:
  before: 3
"""


def read(text: str) -> tuple[WatchSettings | None, list[str]]:
    document = YamlDocument.of_text(text, "watch.yaml")
    return WatchSettings.of(document), document.faults


def test_settings_of_two_cameras() -> None:
    settings, faults = read(GOOD)
    assert faults == [] and settings is not None
    assert list(settings.cameras) == ["yard", "door"] and settings.cameras["yard"].rate == 5
    assert settings.rules["people"].all_kinds == (EventKind.ENTERED, EventKind.LEFT)
    assert settings.rules["cars"].all_kinds == (EventKind.APPEARED,)
    assert list(settings.rules_of("door")) == ["cars"] and list(settings.rules_of("yard")) == ["people", "cars"]
    assert settings.recording.before == 3 and settings.recording.after == 5


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("labels: [person]", "labels: [persn]", "line 17: rules.people.labels[0]: no class 'persn'; did"),
        ("labels: car", "labels: dinosaur", "line 21: rules.cars.labels: no class 'dinosaur'; known: "),
        ("cameras: yard", "cameras: yrad", "line 16: rules.people.cameras: no camera 'yrad'; did you mean 'yard'?"),
        (", [0.9, 0.9]]", "]", "line 9: cameras.yard.zones.lawn: found 2 points; expected at least 3 points"),
        ("size: 1280x720", "size: big", "line 6: cameras.yard.size: found 'big'; expected WIDTHxHEIGHT"),
        ("rate: 5", "rate: 0", "line 7: cameras.yard.rate: found 0; expected 0.1 to 60"),
        ("rate: 5", "rat: 5", "line 7: cameras.yard.rat: unknown key; did you mean 'rate'?"),
        ("rate: 5", "tiles: many", "line 7: cameras.yard.tiles: "),
        ("      gate:", "      lawn:", "line 11: cameras.yard.lines.lawn: a zone has this name, too"),
        ("      gate:", "      the gate:", "line 11: cameras.yard.lines.the gate: the name has other characters"),
        ("source: cam0", "source: camera", "line 13: cameras.door.source: found no address, camera or file"),
        ("  door:", "  yard:", "line 12: cameras.yard: the key is in line 4 already"),
        ("cameras: yard\n", "cameras: door\n", "line 15: rules.people: kinds 'entered' and 'left' need a zone"),
        ("kinds: [entered, left]", "zones: [lwan]", "line 18: rules.people.zones[0]: no zone of its cameras is"),
        ("kinds: [entered, left]", "kinds: [stayed]", "line 15: rules.people: kind 'stayed' without min_seconds"),
        ("kinds: [entered, left]", "kinds: [entred]", "line 18: rules.people.kinds[0]: found 'entred'; did you mean"),
        ("kinds: [entered, left]", "lines: [gate]\n    kinds: [left]", "line 18: rules.people.lines: lines without"),
        ("labels: [person]", "labels: [person, person]", "line 17: rules.people.labels: 'person' comes twice"),
        ("22:00-06:00", "22:00-26:00", "line 19: rules.people.hours: 26:00 is no time of the day"),
        ("min_score: 0.5", "min_score: 50", "line 22: rules.cars.min_score: found 50; expected 0 to 1"),
        ("before: 3", "before: -3", "line 25: recording.before: found -3; expected 0 to 120"),
        ("Europe/Berlin", "Europe/Berlim", "line 2: timezone: no time zone 'Europe/Berlim'"),
        ("model: pelee-voc", "model: pelee-vok", "line 1: model: "),
        ("model: pelee-voc", "model: peleenet-tiny-imagenet", "line 1: model: 'peleenet-tiny-imagenet' is a"),
    ],
)  # fmt: skip
def test_a_fault_of_the_settings(old: str, new: str, fault: str) -> None:
    assert GOOD.count(old) >= 1
    settings, faults = read(GOOD.replace(old, new, 1))
    assert settings is None
    assert any(line.startswith(f"watch.yaml, {fault}") for line in faults), faults
    assert not any("secret" in line or "\n" in line for line in faults)


def test_all_faults_at_once() -> None:
    text = GOOD.replace("labels: [person]", "labels: [persn]").replace("rate: 5", "rate: 0").replace("0.5\n", "5\n")
    assert len(read(text)[1]) == 3


@pytest.mark.parametrize(
    "text",
    [
        "rules: {a: {}}\n",
        "cameras: {}\nrules: {a: {}}\n",
        "cameras: [a]\nrules: {a: {}}\n",
        "cameras: [{a: b}]\nrules: {a: {}}\n",
    ],
)
def test_no_cameras(text: str) -> None:
    settings, faults = read(text)
    assert settings is None and any("cameras: " in line and "at least one" in line for line in faults)


def test_a_video_file_is_a_source(tmp_path: Path) -> None:
    film = tmp_path / "yard.mp4"
    film.touch()
    for source in (str(film), f"file://{film}"):
        settings, faults = read(f"cameras: {{a: {{source: '{source}'}}}}\nrules: {{b: {{}}}}\n")
        assert settings is not None, faults
        assert settings.cameras["a"].address == f"file://{film}"
    assert settings is not None and settings.rules["b"] == RuleSettings()
