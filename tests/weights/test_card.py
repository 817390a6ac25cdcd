"""The card: what it refuses, and that it says which field of which file is wrong."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.errors import WeightsError
from weights.card import ADDED_FIELDS, Card


def make_card(**changes: Any) -> Card:
    """A small card that is complete."""
    values: dict[str, Any] = {
        "name": "toy",
        "task": "detection",
        "architecture": "pelee",
        "class_names": ["cat", "dog"],
        "input_size": 304,
        "file": "model.safetensors",
        "sha256": "0" * 64,
        "scores": [{"metric": "AP50", "value": 0.5, "split": "2007-test", "command": "pelee-eval", "pictures": 4952}],
        "licence": "MIT",
        "created": "2024-05-31",
    }
    return Card(**(values | changes))


def write(folder: Path, **changes: Any) -> Path:
    """Write a card file whose fields are changed, or dropped where the change is `...`."""
    values = json.loads(make_card().to_json()) | changes
    path = folder / "card.json"
    path.write_text(json.dumps({key: value for key, value in values.items() if value is not ...}))
    return path


def test_a_card_survives_its_file(tmp_path: Path) -> None:
    card = make_card(architecture_settings={"growth": 32}, class_names=["Käfer", "naïve 🐈"])
    (tmp_path / "card.json").write_text(card.to_json(), encoding="utf-8")
    assert Card.load(tmp_path / "card.json") == card
    assert Card.load(tmp_path) == card, "the folder will do"
    assert "Käfer" in card.to_json(), "names stay readable in the file"


def test_settings_may_hold_paths_and_numpy_scalars() -> None:
    training = {"command": "", "commit": "", "data": "", "started_from": None}
    training |= {"settings": {"root": Path("a") / "b", "lr": np.float32(0.5), "steps": np.int64(3)}}
    written = json.loads(make_card(training=training).to_json())
    assert written["training"]["settings"] == {"root": str(Path("a/b")), "lr": 0.5, "steps": 3}


def test_an_unknown_field_is_named_with_its_nearest(tmp_path: Path) -> None:
    path = write(tmp_path, clas_names=["cat"])
    with pytest.raises(WeightsError, match=r"card\.json: unknown field 'clas_names', did you mean 'class_names'\?"):
        Card.load(path)


@pytest.mark.parametrize("name", [name for name in json.loads(make_card().to_json()) if name not in ADDED_FIELDS])
def test_a_missing_field_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(WeightsError, match=rf"card\.json: field '{name}' is missing"):
        Card.load(write(tmp_path, **{name: ...}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", 3),
        ("name", ""),
        ("task", "segmentation"),
        ("architecture", None),
        ("architecture_settings", [1]),
        ("class_names", "cat"),
        ("class_names", []),
        ("class_names", ["cat", "cat"]),
        ("input_size", "304"),
        ("input_size", 0),
        ("input_size", True),
        ("default_confidence", 1.5),
        ("class_confidence", [0.5]),
        ("suppression", 0.5),
        ("scores", {}),
        ("file", "../other/model.safetensors"),
        ("file", "/model.safetensors"),
        ("file", "model.pth"),
        ("file", ""),
        ("sha256", "abc"),
        ("sha256", ""),
        ("parameters", -1),
        ("parameters", 2.5),
        ("created", "yesterday"),
        ("format_version", 2),
        ("format_version", "1"),
        ("licence", 5),
    ],
)
def test_a_wrong_value_is_named(tmp_path: Path, name: str, value: object) -> None:
    with pytest.raises(WeightsError, match=rf"card\.json: field '{name}' is ") as caught:
        Card.load(write(tmp_path, **{name: value}))
    assert "\n" not in str(caught.value)


def by_class(**changes: Any) -> dict[str, Any]:
    entry = {"confidence": 0.6, "chosen_by": "precision", "precision": 0.81, "recall": 0.4}
    return {"precision": 0.8, "split": "voc 2007-minival", "classes": {"dog": entry | changes}}


def test_thresholds_of_the_classes_come_before_the_default(tmp_path: Path) -> None:
    plain = make_card(default_confidence=0.3)
    card = make_card(default_confidence=0.3, class_confidence=by_class())
    assert (plain.default_thresholds, card.default_thresholds) == (0.3, (0.3, 0.6))
    (tmp_path / "card.json").write_text(card.to_json())
    assert Card.load(tmp_path) == card


def test_a_card_of_an_earlier_version_has_no_thresholds_of_classes(tmp_path: Path) -> None:
    card = Card.load(write(tmp_path, class_confidence=...))
    assert (card.class_confidence, card.default_thresholds) == ({}, card.default_confidence)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (by_class() | {"precision": 80}, r"'class_confidence\.precision' is 80"),
        ({"precision": 0.8, "classes": {}}, r"'class_confidence\.split' is missing"),
        (by_class(confidence=1.5), r"'class_confidence\.classes\.dog\.confidence' is 1\.5"),
        (by_class(chosen_by="me"), r"chosen_by' is 'me' .*, expected precision or best F1"),
        (by_class() | {"classes": {"dgo": {}}}, r"classes\.dgo' is of no class of the model, did you mean 'dog'"),
        (by_class() | {"classes": {"dog": 0.4}}, r"classes\.dog' is 0\.4 \(a number\), expected an object"),
    ],
)
def test_wrong_thresholds_of_classes_are_named(values: dict[str, Any], said: str) -> None:
    with pytest.raises(WeightsError, match=said):
        make_card(class_confidence=values)


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("preprocessing", {"colour_order": "BGR"}, r"preprocessing\.colour_order' is 'BGR'"),
        ("preprocessing", {"mean": [1, 2]}, r"preprocessing\.mean' is \[1, 2\]"),
        ("preprocessing", {"scale": 0}, r"preprocessing\.scale' is 0"),
        ("preprocessing", {"scale": [1, 0, 1]}, r"preprocessing\.scale' is \[1, 0, 1\]"),
        ("preprocessing", {"scale": [1, 1]}, r"preprocessing\.scale' is \[1, 1\]"),
        ("preprocessing", {"grey": "yes"}, r"preprocessing\.grey' is 'yes'"),
        ("preprocessing", {"std": 1}, r"preprocessing\.std'"),
        ("training", {"settings": 1}, r"training\.settings' is 1"),
    ],
)
def test_nested_fields_are_checked(tmp_path: Path, name: str, changes: dict[str, Any], said: str) -> None:
    values = json.loads(make_card().to_json())[name] | changes
    with pytest.raises(WeightsError, match=said):
        Card.load(write(tmp_path, **{name: values}))


def test_a_score_must_say_what_it_was_measured_on(tmp_path: Path) -> None:
    score = {"metric": "AP50", "value": 0.5, "splitt": "2007-test", "command": "", "pictures": 1}
    with pytest.raises(WeightsError, match=r"scores\[0\]\.split' is missing \(found 'splitt' instead\)"):
        Card.load(write(tmp_path, scores=[score]))
    with pytest.raises(WeightsError, match=r"scores\[0\]\.value' is nan"):
        make_card(scores=[{"metric": "AP", "value": float("nan"), "split": "", "command": "", "pictures": 1}])


@pytest.mark.parametrize("text", ["", "{", "[]", "\xff\xfe", '{"name": NaN}', "[" * 100_000])
def test_a_file_that_is_no_card_is_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "card.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(WeightsError, match=r"card\.json: .*expected a model's card") as caught:
        Card.load(path)
    assert "\n" not in str(caught.value)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such file"):
        Card.load(tmp_path)


SUPPRESSION = {"score": 0.001, "iou": 0.55, "candidates": 300, "keep": 300}


def test_suppression_is_kept_and_earlier_cards_have_none(tmp_path: Path) -> None:
    card = make_card(suppression=SUPPRESSION)
    (tmp_path / "card.json").write_text(card.to_json())
    assert Card.load(tmp_path) == card
    assert Card.load(write(tmp_path, suppression=...)).suppression == {}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"iou": 0.5}, r"'suppression\.score' is missing"),
        (SUPPRESSION | {"iou": 55}, r"'suppression\.iou' is 55"),
        (SUPPRESSION | {"keep": 0}, r"'suppression\.keep' is 0"),
        (SUPPRESSION | {"candidates": 2.5}, r"'suppression\.candidates' is 2\.5"),
        (SUPPRESSION | {"soft": True}, r"'suppression\.soft' is True"),
    ],
)
def test_wrong_suppression_is_named(values: dict[str, Any], said: str) -> None:
    with pytest.raises(WeightsError, match=said):
        make_card(suppression=values)


def test_resizing_that_no_one_does_is_refused() -> None:
    preprocessing = make_card().preprocessing | {"resize": "letterbox"}
    with pytest.raises(WeightsError, match=r"'preprocessing\.resize' is 'letterbox' .*, expected warp or warp-float32"):
        make_card(preprocessing=preprocessing)
