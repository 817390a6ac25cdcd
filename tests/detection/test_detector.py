import itertools
import pickle
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import supervision as sv
from PIL import Image

from data.errors import ImageError, SettingsError, WeightsError
from detection.detector import BATCH, Detector
from detection.inference.options import DetectionOptions
from detection.inference.stage_timer import StageTimer
from tests.support.rectangle_session import (
    CLASS_NAMES,
    SCORES,
    WHITE,
    RectangleRuntime,
    make_card,
    make_detector,
    picture,
)


def names(detections: Any) -> list[str]:
    return detections.data["class_name"].tolist()


def ids(detections: Any) -> list[int]:
    return detections.class_id.tolist()


def test_a_picture_becomes_detections_in_its_own_pixels() -> None:
    detections = make_detector()(picture(256, 128, (64, 32, 192, 96)))
    assert isinstance(detections, sv.Detections)
    np.testing.assert_allclose(detections.xyxy, [[64, 32, 192, 96]], atol=2.01)  # one input pixel is two wide
    assert detections.confidence == pytest.approx([SCORES[0]])
    assert ids(detections) == [0]
    assert names(detections) == ["red thing"]


def test_an_empty_result_has_every_key_and_type() -> None:
    full: Any
    empty: Any
    full, empty = make_detector()([picture(), np.zeros((50, 60, 3), np.uint8)])
    assert len(empty) == 0 and empty.xyxy.shape == (0, 4)
    for key in ("xyxy", "confidence", "class_id"):
        assert getattr(empty, key).dtype == getattr(full, key).dtype
    assert empty.data["class_name"].dtype == full.data["class_name"].dtype
    assert len(sv.Detections.merge([full, empty])) == 1


def test_a_list_gives_a_list_in_order_and_goes_through_in_parts() -> None:
    detector = make_detector()
    pictures = [picture(100 + index, 90, (10, 10, 50 + index, 50)) for index in range(BATCH + 3)]
    results = detector(pictures)
    assert [round(float(result.xyxy[0, 2])) for result in results] == pytest.approx(
        [50 + index for index in range(BATCH + 3)], abs=1.5
    )
    assert isinstance(detector.runtime, RectangleRuntime) and detector.runtime.batches == [BATCH, 3]
    assert detector([]) == []


def test_paths_and_arrays_mix(tmp_path: Path) -> None:
    Image.fromarray(picture()).save(tmp_path / "a.png")
    first, second, third = make_detector()([tmp_path / "a.png", str(tmp_path / "a.png"), picture()])
    np.testing.assert_array_equal(first.xyxy, second.xyxy)
    np.testing.assert_array_equal(first.xyxy, third.xyxy)


def save(path: Path, kind: str, image: np.ndarray) -> Path:
    """Write a picture in one of the ways that pictures come."""
    pil = Image.fromarray(image)
    if kind == "exif-rotated":  # stored lying on its side, with the tag that says so
        exif = Image.Exif()
        exif[0x0112] = 6
        pil.transpose(Image.Transpose.ROTATE_90).save(path.with_suffix(".jpg"), exif=exif, quality=95)
        return path.with_suffix(".jpg")
    if kind == "cmyk":
        pil.convert("CMYK").save(path.with_suffix(".jpg"), quality=95)
        return path.with_suffix(".jpg")
    if kind == "16-bit":
        grey = np.asarray(pil.convert("L")).astype(np.uint16) * 257
        Image.fromarray(grey).save(path.with_suffix(".png"))
        return path.with_suffix(".png")
    converted = {"grey": "L", "palette": "P", "rgba": "RGBA", "rgb": "RGB"}[kind]
    pil.convert(converted).save(path.with_suffix(".png"))
    return path.with_suffix(".png")


@pytest.mark.parametrize("kind", ["rgb", "exif-rotated", "grey", "palette", "rgba", "cmyk", "16-bit"])
def test_every_kind_of_picture_gives_the_same_box(tmp_path: Path, kind: str) -> None:
    image = picture(256, 128, (64, 32, 192, 96), WHITE)
    detections = make_detector()(save(tmp_path / "picture", kind, image))
    np.testing.assert_allclose(detections.xyxy, [[64, 32, 192, 96]], atol=3)
    assert names(detections) == ["white thing"]


def test_views_and_read_only_arrays_are_pictures() -> None:
    bgr = np.ascontiguousarray(picture()[..., ::-1])
    bgr.flags.writeable = False
    detector = make_detector()
    np.testing.assert_array_equal(detector(bgr[..., ::-1]).xyxy, detector(picture()).xyxy)


def test_every_form_of_an_image_gives_the_same_box(tmp_path: Path) -> None:
    """The forms themselves are tested in tests/pelee/test_image_input.py."""
    image = picture()
    Image.fromarray(image).save(tmp_path / "a.png")
    detector = make_detector()
    expected = detector(image).xyxy
    with (tmp_path / "a.png").open("rb") as file:
        for source in ((tmp_path / "a.png").read_bytes(), file, Image.fromarray(image), image / 255):
            np.testing.assert_array_equal(detector(source).xyxy, expected)
    for several in (np.stack([image, image]), (image for _ in range(2)), (image, Image.fromarray(image))):
        found = detector(several)
        assert isinstance(found, list) and [one.xyxy.tolist() for one in found] == 2 * [expected.tolist()]


def test_what_is_no_image_is_an_image_error(tmp_path: Path) -> None:
    for source in (None, 3, {"a": 1}, object(), [None], np.zeros((4, 4, 2), np.uint8), np.full((4, 4, 3), np.nan)):
        with pytest.raises(ImageError, match="is no image") as error:
            make_detector()(source)  # type: ignore[call-overload]
        assert "\n" not in str(error.value)
    with pytest.raises(ImageError, match=r"absent\.jpg"):
        make_detector()(tmp_path / "absent.jpg")


def test_a_generator_is_read_in_parts() -> None:
    """At most a batch of images is read before its detections are there."""
    detector = make_detector()
    taken: list[int] = []

    def images() -> Iterator[np.ndarray]:
        for number in range(2 * BATCH):
            assert isinstance(detector.runtime, RectangleRuntime)
            taken.append(number - sum(detector.runtime.batches))
            yield picture()

    assert len(detector(images())) == 2 * BATCH and max(taken) < BATCH


def test_a_loaded_detector_is_pickled_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    from weights.store import ModelFile

    model = ModelFile(make_card(), Path("x"))
    sizes = []
    monkeypatch.setattr("weights.store.resolve", lambda name: model)
    monkeypatch.setattr(
        "detection.inference.detection_session.load_runtime",
        lambda _, options: sizes.append(options.size) or RectangleRuntime(),  # type: ignore[func-returns-value]
    )
    again = pickle.loads(pickle.dumps(Detector.load("rectangles", size=128)))
    assert len(again(picture())) == 1 and sizes == [128, 128]
    with pytest.raises(TypeError, match=r"only one of Detector\.load"):
        pickle.dumps(make_detector())


def test_an_input_size_out_of_range_is_refused_at_once() -> None:
    for size in (100_000, 0, -16, "304"):
        with pytest.raises(SettingsError, match="expected pixels from 1 to 4096"):
            Detector.load(size=size)  # type: ignore[arg-type]


def test_confidence_defaults_to_the_card_and_to_evaluation_in_a_batch() -> None:
    both = picture()
    both[:20, :40] = WHITE
    strict, lenient = make_detector(default_confidence=0.7), make_detector(default_confidence=0.3)
    assert names(strict(both)) == ["red thing"]
    assert names(lenient(both)) == ["red thing", "white thing"]
    assert ids(strict(both, confidence=0.1)) == [0, 1]
    assert len(strict(both, confidence=0.95)) == 0
    (prediction,) = strict.predict_batch([both])
    assert prediction.labels.tolist() == [0, 1]
    assert len(strict(both, confidence=0.1, max_detections=1)) == 1


def test_classes_by_name_and_id() -> None:
    both = picture()
    both[:20, :40] = WHITE
    detector = make_detector()
    assert ids(detector(both, classes=["white thing"])) == [1]
    assert ids(detector(both, classes="white thing")) == [1]
    assert ids(detector(both, classes=[1])) == ids(detector(both, classes=1)) == [1]
    assert ids(detector(both, classes="red thing, white thing", confidence=0.1)) == [0, 1]
    assert detector.class_ids(["1", "red thing", 1]) == [0, 1]
    assert len(detector(both, classes=["unseen"])) == 0
    numbered = make_detector(class_names=["a", "b", "0"])
    assert numbered.class_ids(["0"]) == [2]  # a name wins over an id


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (["Red thin"], "did you mean 'red thing'"),
        (["zebra"], "the model knows red thing, white thing, unseen"),
        ([3], "0 to 2"),
        ([-1], "0 to 2"),
        ([], "empty"),
        ("", "empty"),
        ([1.5], "is a float, expected a name or an id"),
    ],
)
def test_unknown_classes(classes: list[str | int], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        make_detector()(picture(), classes=classes)


@pytest.mark.parametrize(
    "settings",
    [
        {"confidence": 1.5},
        {"confidence": "0.5"},
        {"max_detections": 1.5},
        {"confidence": -0.1},
        {"confidence": float("nan")},
        {"iou": 2},
        {"max_detections": 0},
    ],
)
def test_settings_out_of_range(settings: dict) -> None:
    with pytest.raises(SettingsError, match=next(iter(settings))):
        make_detector()(picture(), **settings)


def test_what_a_detector_says_of_itself() -> None:
    detector = make_detector()
    assert detector.class_names == tuple(CLASS_NAMES)
    assert detector.input_size == 128
    assert detector.card.name == "rectangles"


def test_a_classification_model_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from weights.store import ModelFile

    card = make_card(task="classification")
    monkeypatch.setattr("weights.store.resolve", lambda name: ModelFile(card, Path("x")))
    with pytest.raises(WeightsError, match="expected one for detection"):
        Detector.load("some-model")


def test_load_joins_the_card_with_its_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    from weights.store import ModelFile

    model = ModelFile(make_card(), Path("x"))
    monkeypatch.setattr("weights.store.resolve", lambda name: model)
    monkeypatch.setattr(
        "detection.inference.detection_session.load_runtime",
        lambda found, options: RectangleRuntime() if found is model else None,
    )
    assert len(Detector.load("some-model")(picture())) == 1


def test_load_hands_on_where_and_how_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    from weights.store import ModelFile

    model = ModelFile(make_card(), Path("x"))
    given: dict[str, object] = {}
    monkeypatch.setattr("weights.store.resolve", lambda name: model)
    monkeypatch.setattr(
        "detection.inference.detection_session.load_runtime", lambda found, options: given.update(asdict(options))
    )
    Detector.load("m")
    usual = {"runtime": "auto", "device": "auto", "precision": "auto", "mode": "latency", "compile": False}
    assert given == usual | {"size": None}
    Detector.load("m", runtime="torch", device="cuda:1", precision="bf16", mode="throughput", compile=True, size=224)
    assert given == {
        "runtime": "torch",
        "device": "cuda:1",
        "precision": "bf16",
        "mode": "throughput",
        "compile": True,
        "size": 224,
    }


def test_what_is_submitted_gives_what_a_batch_gives() -> None:
    detector = make_detector()
    images = [picture(), picture(90, 80, (10, 10, 60, 60), WHITE)]
    search = DetectionOptions(confidence=0.1, classes=(1,))
    under_way = [detector.submit(images, search), detector.submit(images[:1], search)]
    found = [one.result() for one in under_way]
    expected = [detector.predict_batch(part, 0.1, classes=[1]) for part in (images, images[:1])]
    for mine, theirs in zip(itertools.chain(*found), itertools.chain(*expected), strict=True):
        for left, right in zip(mine, theirs, strict=True):
            np.testing.assert_array_equal(left, right)
    assert [len(one.scores) for one in found[0]] == [0, 1]
    with pytest.raises(ImageError):
        detector.submit([np.zeros((4, 4), np.uint8)], search)


def test_stages_are_timed(tmp_path: Path) -> None:
    Image.fromarray(picture()).save(tmp_path / "a.png")
    detector = make_detector()
    detector([tmp_path / "a.png", picture()])
    assert list(detector.timer.medians()) == ["decode", "preprocess", "network", "postprocess"]


def test_timer_arithmetic() -> None:
    timer = StageTimer()
    for seconds in (0.010, 0.020, 0.900):
        timer.add("network", seconds)
    timer.add("decode", 0.020, images=4)
    assert timer.medians() == pytest.approx({"network": 20, "decode": 5})
    with pytest.raises(ValueError), timer.stage("draw"):
        raise ValueError
    assert "draw" not in timer.medians()


@pytest.mark.slow
def test_importing_the_detector_imports_neither_torch_nor_supervision() -> None:
    code = "import sys, detection.detector; print(sorted({'torch', 'supervision', 'av'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_jpeg_that_is_cut_off_is_an_input_with_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "cut.jpg"
    Image.fromarray(picture(256, 128, (64, 32, 192, 96))).save(path)
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.warns(UserWarning, match="cut.jpg: the JPEG is cut off"):
        detections = make_detector()(path)
    assert names(detections) == ["red thing"]
