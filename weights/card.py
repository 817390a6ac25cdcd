"""Model card: the JSON file next to the weights with architecture, classes, preprocessing, training and scores."""

import dataclasses
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from numbers import Real
from pathlib import Path
from typing import Any, Self

from data.errors import WeightsError, did_you_mean, nearest_name
from data.images.preprocess import MEAN, RESIZES, SCALE, WARP

CARD_NAME = "card.json"
FORMAT_VERSION = 1
ADDED_FIELDS = ("class_confidence", "suppression")  # missing from the cards of earlier versions
TASKS = ("detection", "classification")
TRAINING_KEYS = ("command", "commit", "settings", "data", "started_from")
CONFIDENCE_KEYS = ("precision", "split", "classes")
CLASS_KEYS = ("confidence", "chosen_by", "precision", "recall")
CHOSEN_BY = ("precision", "best F1")
SUPPRESSION_KEYS = ("score", "iou", "candidates", "keep")
SCORE_KEYS = ("metric", "value", "split", "command", "pictures")


def _preprocessing() -> dict[str, Any]:
    return {"colour_order": "RGB", "resize": WARP, "mean": list(MEAN), "scale": SCALE}


def _training() -> dict[str, Any]:
    return {"command": "", "commit": "", "settings": {}, "data": "", "started_from": None}


def _today() -> str:
    return datetime.now(UTC).date().isoformat()


@dataclass(frozen=True, slots=True)
class Card:
    """Metadata of a model. An inconsistent card raises `WeightsError` when it is created.

    Attributes:
        name, task: the model's name, such as "pelee-voc"; "detection" or "classification".
        architecture: name in the registry of networks, such as "pelee".
        architecture_settings: arguments of the network's builder that replace its defaults.
        class_names: names in the order of the 0-based labels; no background.
        input_size: side of the square input in pixels.
        preprocessing: `colour_order` ("RGB"), `resize` (one of `data.images.preprocess.RESIZES`), and the normalization
            in the network's graph, (x - mean) * scale: `mean` (3 numbers, 0 to 255) and `scale` (a number, or 3);
            optional `grey`, which converts to gray before it. A runtime therefore does not normalize.
        default_confidence: default score threshold of a detection, 0 to 1.
        class_confidence: default score thresholds by class, instead of `default_confidence`; empty for none. Otherwise
            `precision` (the one that they were chosen for, 0 to 1), `split` (the data that they were chosen on), and
            `classes`: class name -> `confidence`, `chosen_by` ("precision", or "best F1" for a class that does not
            reach it), and the class's `precision` and `recall` on that split at its confidence. A class without an
            entry has `default_confidence`.
        suppression: `score` (least score in an evaluation), `iou` (NMS threshold), `candidates` (boxes of a class that
            enter NMS) and `keep` (detections an image in an evaluation); empty for `detection.inference.thresholds`.
        training: `command`, `commit`, `settings` (all, resolved), `data` (the training data), `started_from`.
        scores: dicts with `metric`, `value`, `split`, `command` and `pictures` (number of images measured on).
        licence: license of the weights.
        file, sha256: name of the weights' file in the card's folder, and its SHA-256; `weights.store.save_model` sets
            them and `parameters`.
        parameters: number of trained parameters (without batch-norm statistics).
        created, format_version: ISO date; version of this format.
    """

    name: str
    task: str
    architecture: str
    class_names: list[str]
    input_size: int
    architecture_settings: dict[str, Any] = field(default_factory=dict)
    preprocessing: dict[str, Any] = field(default_factory=_preprocessing)
    default_confidence: float = 0.3
    class_confidence: dict[str, Any] = field(default_factory=dict)
    suppression: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=_training)
    scores: list[dict[str, Any]] = field(default_factory=list)
    licence: str = ""
    file: str = ""
    sha256: str = ""
    parameters: int = 0
    created: str = field(default_factory=_today)
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        """Validate every field; the error names the field."""
        for name in ("name", "task", "architecture", "licence", "file", "sha256", "created"):
            _expect(isinstance(getattr(self, name), str), name, getattr(self, name), "a string")
        for name in ("architecture_settings", "preprocessing", "training"):
            _expect(isinstance(getattr(self, name), dict), name, getattr(self, name), "an object")
        _expect(bool(self.name), "name", self.name, "a name")
        _expect(self.task in TASKS, "task", self.task, " or ".join(TASKS))
        _expect(bool(self.architecture), "architecture", self.architecture, "a name")
        _check_class_names(self.class_names)
        _expect(_is_int(self.input_size) and self.input_size > 0, "input_size", self.input_size, "a positive integer")
        _check_preprocessing(self.preprocessing)
        confidence = self.default_confidence
        _expect(_is_share(confidence), "default_confidence", confidence, "a number from 0 to 1")
        _check_class_confidence(self.class_confidence, self.class_names)
        _check_suppression(self.suppression)
        _need_keys(self.training, TRAINING_KEYS, "training")
        settings = self.training["settings"]
        _expect(isinstance(settings, dict), "training.settings", settings, "an object")
        _check_scores(self.scores)
        # The weights are always in the card's folder: paths out of it are rejected.
        plain = self.file == "" or re.fullmatch(r"[^/\\:]+\.safetensors", self.file) is not None
        _expect(plain, "file", self.file, "the name of a .safetensors file in the card's folder")
        hexadecimal = re.fullmatch(r"([0-9a-f]{64})?", self.sha256) is not None
        _expect(hexadecimal, "sha256", self.sha256, "64 lower-case hexadecimal digits")
        _expect(_is_int(self.parameters) and self.parameters >= 0, "parameters", self.parameters, "an integer from 0")
        _expect(_is_iso_date(self.created), "created", self.created, "an ISO date such as 2024-05-31")
        _expect(_is_int(self.format_version), "format_version", self.format_version, "an integer")
        if self.format_version != FORMAT_VERSION:
            raise WeightsError(
                f"field 'format_version' is {self.format_version}, this program reads {FORMAT_VERSION}: "
                "use the version of the project that wrote the model"
            )

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read the card at `path`, a card file or its folder.

        Raises `WeightsError` on a card that is missing, is no JSON, or has fields that are missing, unknown or of the
        wrong type. Every field but those of `ADDED_FIELDS` is required: `to_json` writes all of them, so a missing one
        means a damaged file.
        """
        path = Path(path)
        if path.is_dir():
            path = path / CARD_NAME
        try:
            values = json.loads(path.read_text(encoding="utf-8-sig"), parse_constant=_refuse_constant)
        except FileNotFoundError:
            raise WeightsError(f"{path}: no such file, expected a model's card") from None
        except (ValueError, RecursionError) as error:
            raise WeightsError(f"{path}: is not valid JSON ({error}), expected a model's card") from None
        if not isinstance(values, dict):
            raise WeightsError(f"{path}: holds {_kind(values)}, expected a model's card, a JSON object")
        known = [item.name for item in dataclasses.fields(cls)]
        for key in values:
            if key not in known:
                hint = did_you_mean(key, known) or f"expected {', '.join(known)}"
                raise WeightsError(f"{path}: unknown field {key!r}, {hint}")
        missing = [key for key in known if key not in values and key not in ADDED_FIELDS]
        if missing:
            raise WeightsError(f"{path}: field {missing[0]!r} is missing")
        try:
            card = cls(**values)
            _expect(card.file != "", "file", card.file, "the name of the weights")
            _expect(card.sha256 != "", "sha256", card.sha256, "the SHA-256 of the weights")
        except WeightsError as error:
            raise WeightsError(f"{path}: {error}") from None
        return card

    @property
    def default_thresholds(self) -> float | tuple[float, ...]:
        """Default score threshold of a detection; one for each label where the card has thresholds of classes."""
        if not self.class_confidence:
            return self.default_confidence
        classes = self.class_confidence["classes"]
        return tuple(
            classes.get(name, {"confidence": self.default_confidence})["confidence"] for name in self.class_names
        )

    @property
    def resize(self) -> str:
        """Way to resize an image to the input, one of `data.images.preprocess.RESIZES`."""
        return str(self.preprocessing["resize"])

    def to_json(self) -> str:
        """Return the card as indented JSON with a final newline; paths and NumPy scalars become plain values."""
        values = dataclasses.asdict(self)
        return json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False, default=_plain) + "\n"


def _expect(condition: bool, name: str, found: object, expected: str) -> None:
    """Raise the one-line error on a field unless `condition` holds."""
    if not condition:
        shown = repr(found)
        shown = shown if len(shown) <= 60 else shown[:57] + "..."
        raise WeightsError(f"field {name!r} is {shown} ({_kind(found)}), expected {expected}")


def _need_keys(values: Mapping[str, Any], keys: tuple[str, ...], name: str) -> None:
    """Raise WeightsError for a missing key; it names a similar key among the unknown ones."""
    for key in keys:
        if key not in values:
            near = nearest_name(key, [other for other in values if other not in keys])
            hint = f" (found {near!r} instead)" if near else ""
            raise WeightsError(f"field '{name}.{key}' is missing{hint}")


def _check_class_names(names: object) -> None:
    _expect(isinstance(names, list) and len(names) > 0, "class_names", names, "a list of at least one name")
    assert isinstance(names, list)
    for index, name in enumerate(names):
        _expect(isinstance(name, str) and name != "", f"class_names[{index}]", name, "a name")
    twice = {name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else set()
    _expect(not twice, "class_names", sorted(twice), "every name once")


def _check_class_confidence(values: object, names: list[str]) -> None:
    _expect(isinstance(values, dict), "class_confidence", values, "an object")
    assert isinstance(values, dict)
    if not values:
        return
    _need_keys(values, CONFIDENCE_KEYS, "class_confidence")
    _expect(_is_share(values["precision"]), "class_confidence.precision", values["precision"], "a number from 0 to 1")
    _expect(isinstance(values["split"], str), "class_confidence.split", values["split"], "a string")
    classes = values["classes"]
    _expect(isinstance(classes, dict), "class_confidence.classes", classes, "an object")
    for name, entry in classes.items():
        path = f"class_confidence.classes.{name}"
        if name not in names:
            hint = did_you_mean(name, names) or "expected a name of class_names"
            raise WeightsError(f"field {path!r} is of no class of the model, {hint}")
        _expect(isinstance(entry, dict), path, entry, "an object")
        _need_keys(entry, CLASS_KEYS, path)
        for key in ("confidence", "precision", "recall"):
            _expect(_is_share(entry[key]), f"{path}.{key}", entry[key], "a number from 0 to 1")
        _expect(entry["chosen_by"] in CHOSEN_BY, f"{path}.chosen_by", entry["chosen_by"], " or ".join(CHOSEN_BY))


def _check_suppression(values: object) -> None:
    _expect(isinstance(values, dict), "suppression", values, "an object")
    assert isinstance(values, dict)
    _need_keys(values, SUPPRESSION_KEYS if values else (), "suppression")
    for key, value in values.items():
        fits = _is_share(value) if key in ("score", "iou") else key in SUPPRESSION_KEYS and _is_int(value) and value > 0
        _expect(fits, f"suppression.{key}", value, "score and iou from 0 to 1, candidates and keep above 0")


def _check_preprocessing(values: Mapping[str, Any]) -> None:
    keys = tuple(_preprocessing())
    for key in values:
        _expect(key in (*keys, "grey"), f"preprocessing.{key}", values[key], f"one of {', '.join(keys)}")
    _need_keys(values, keys, "preprocessing")
    color_order, resize, mean, scale = (values[key] for key in keys)
    _expect(color_order == "RGB", "preprocessing.colour_order", color_order, "RGB, the one order of this project")
    _expect(resize in RESIZES, "preprocessing.resize", resize, " or ".join(RESIZES))
    three = isinstance(mean, list) and len(mean) == 3 and all(_is_number(value) for value in mean)
    _expect(three, "preprocessing.mean", mean, "three numbers")
    scales = scale if isinstance(scale, list) and len(scale) == 3 else [scale]
    positive = all(_is_number(value) and value > 0 for value in scales)
    _expect(positive, "preprocessing.scale", scale, "a positive number, or three")
    grey = values.get("grey", False)
    _expect(isinstance(grey, bool), "preprocessing.grey", grey, "true or false")


def _check_scores(scores: object) -> None:
    _expect(isinstance(scores, list), "scores", scores, "a list of objects")
    assert isinstance(scores, list)
    for index, score in enumerate(scores):
        name = f"scores[{index}]"
        _expect(isinstance(score, dict), name, score, "an object")
        _need_keys(score, SCORE_KEYS, name)
        for key in ("metric", "split", "command"):
            _expect(isinstance(score[key], str), f"{name}.{key}", score[key], "a string")
        _expect(_is_number(score["value"]), f"{name}.value", score["value"], "a finite number")
        pictures = score["pictures"]
        _expect(_is_int(pictures) and pictures >= 0, f"{name}.pictures", pictures, "the number of images")


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _is_share(value: object) -> bool:
    return _is_number(value) and 0 <= value <= 1  # type: ignore[operator]


def _is_iso_date(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _kind(value: object) -> str:
    """Return the JSON name of a value's type."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number" if isinstance(value, Real) else type(value).__name__)


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is no JSON number")


def _plain(value: object) -> object:
    """Convert a value that JSON does not support, so that no training of days ends in a card that cannot be written."""
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", 0) == 0 else str(value)
