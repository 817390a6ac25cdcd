"""`Classifier`: with a session whose answers are known, and against PyTorch."""

import pickle
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from data.errors import ImageError, PeleeError, SettingsError, WeightsError
from data.images.image_io import read_image, write_image
from data.images.preprocess import preprocess
from pelee.classification.classifier import BATCH, Classifier
from pelee.models.peleenet import PeleeNet
from tests.support.lookup_classifier import LookupSession, card, gray_image, save_toy, use_session
from tests.support.paths import ROOT
from tests.support.tiny_classifier import CONFIG, save_small

NAMES = ["ant", "bee", "cat"]
ROWS = np.array([[0.5, 0.25, 0.25], [0.125, 0.75, 0.125]])  # of an image of gray level 0, of gray level 1


@pytest.fixture
def classifier() -> Classifier:
    return Classifier(LookupSession(ROWS), card(NAMES))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small(tmp_path_factory.mktemp("small") / "small").path.parent


def test_call_takes_a_path_an_array_or_a_list(classifier: Classifier, tmp_path: Path) -> None:
    path = gray_image(tmp_path / "1.png", 1)
    for source in (path, str(path), np.full((5, 9, 3), 1, np.uint8)):
        result = classifier(source)
        assert result.best == ("bee", 1, 0.75)
        np.testing.assert_array_equal(result.probabilities, ROWS[1].astype(np.float32))
    assert [found.best.label for found in classifier([np.zeros((5, 9, 3), np.uint8), path])] == ["ant", "bee"]
    assert classifier([]) == []


def test_call_splits_a_long_list_into_batches() -> None:
    session = LookupSession(ROWS)
    greys = [number % 2 for number in range(BATCH + 3)]
    found = Classifier(session, card(NAMES))([np.full((4, 4, 3), value, np.uint8) for value in greys])
    assert [result.best.class_id for result in found] == greys
    assert session.batches == [BATCH, 3]


@pytest.mark.parametrize("batch", [1, 2, 3, 50])
def test_stream_returns_a_result_or_an_error_for_each_file(batch: int, tmp_path: Path) -> None:
    files = [gray_image(tmp_path / f"{number}.png", number % 2, width=4 + number) for number in range(7)]
    for number in (0, 3, 6):  # the first, one in the middle, the last
        files[number].write_text("not an image")
    seen: dict[int, tuple[int, int, float]] = {}
    unread = []
    for part in Classifier(LookupSession(ROWS), card(NAMES)).stream(files, batch=batch):
        assert len(part.indices) <= batch
        unread += part.errors
        for index, size, row in zip(part.indices, part.sizes, part.probabilities, strict=True):
            seen[index] = (*size, float(row[1]))
    assert seen == {n: (4 + n, 6, float(ROWS[n % 2, 1])) for n in (1, 2, 4, 5)}
    assert [index for index, _ in unread] == [0, 3, 6]
    assert all(f"{index}.png: not an image" in str(error) for index, error in unread)


def test_stream_of_no_files_is_empty(classifier: Classifier) -> None:
    assert list(classifier.stream([])) == []


@pytest.mark.parametrize(("batch", "workers"), [(0, 1), (1, 0)])
def test_stream_without_batch_or_workers_is_refused(classifier: Classifier, batch: int, workers: int) -> None:
    with pytest.raises(SettingsError, match="expected at least 1 of each"):
        next(classifier.stream([Path("x.png")], batch=batch, workers=workers))


def test_nan_raises_an_error(tmp_path: Path) -> None:
    broken = Classifier(LookupSession(np.full((2, 3), np.nan)), card(NAMES))
    path = gray_image(tmp_path / "1.png", 1)
    with pytest.raises(WeightsError, match="toy gives NaN on a table"):
        broken(path)
    with pytest.raises(WeightsError, match="gives NaN"):
        list(broken.stream([path]))


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("absent.jpg", "absent.jpg: No such file"),
        (np.zeros((5, 5, 2), np.uint8), "expected (H, W, 3), gray (H, W) or RGBA (H, W, 4)"),
        (np.full((5, 5, 3), -1.0), "expected 0 to 255, or 0 to 1 in floating point"),
        (np.zeros((0, 5, 3), np.uint8), "at least one pixel"),
        ([None], "a NoneType is no image"),
    ],
)
def test_call_with_an_invalid_image_raises_one_line(classifier: Classifier, source: object, words: str) -> None:
    with pytest.raises(ImageError) as caught:
        classifier(source)  # type: ignore[call-overload]
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_every_form_of_an_image_gives_the_same_probabilities(classifier: Classifier) -> None:
    """The forms themselves are tested in tests/pelee/test_image_input.py."""
    image = np.full((6, 6, 3), 1, np.uint8)
    expected = classifier(image).probabilities
    for source in (image[..., 0], image[..., 0, None], Image.fromarray(image)):
        np.testing.assert_array_equal(classifier(source).probabilities, expected)
    several = classifier(image for _ in range(3))
    assert isinstance(several, list) and len(several) == 3


def test_an_input_size_out_of_range_is_refused_at_once() -> None:
    with pytest.raises(SettingsError, match="expected pixels from 1 to 4096"):
        Classifier.load(input_size=100_000)


def test_a_classifier_is_pickled_by_its_name(model: Path, classifier: Classifier) -> None:
    loaded = Classifier.load(model, runtime="torch", device="cpu")
    again = pickle.loads(pickle.dumps(loaded))
    assert again.card == loaded.card and again.runtime == loaded.runtime
    with pytest.raises(TypeError, match=r"only one of Classifier\.load"):
        pickle.dumps(classifier)


def test_results_equal_pytorch(model: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    files = [tmp_path / f"{number}.png" for number in range(5)]
    for number, file in enumerate(files):
        write_image(file, rng.integers(0, 255, (40 + 9 * number, 70, 3), dtype=np.uint8))
    classifier = Classifier.load(model, runtime="torch", device="cpu", precision="f32")

    from safetensors.torch import load_file

    network = PeleeNet(7, CONFIG).eval()
    network.load_state_dict(load_file(next(model.glob("*.safetensors"))))
    for size, loaded in (
        (64, classifier),
        (96, Classifier.load(model, runtime="torch", device="cpu", precision="f32", input_size=96)),
    ):
        squares = np.stack([preprocess(read_image(file), size) for file in files])
        with torch.inference_mode():
            expected = network(torch.from_numpy(squares).permute(0, 3, 1, 2)).softmax(1)
        found = loaded(files)
        np.testing.assert_allclose(np.stack([r.probabilities for r in found]), expected.numpy(), atol=1e-5)
        best = expected.topk(5).indices
        assert [[candidate.class_id for candidate in result.top(5)] for result in found] == best.tolist()
    assert classifier.input_size == 64
    assert classifier.class_names == tuple(f"class {label}" for label in range(7))


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"runtime": "tflite"}, "unknown runtime 'tflite'"),
        ({"precision": "int4"}, "unknown precision 'int4'"),
        ({"input_size": 96, "runtime": "openvino"}, "only a model's own weights in torch take another size"),
    ],
)
def test_load_with_unknown_settings_is_refused(model: Path, keywords: dict, words: str) -> None:
    with pytest.raises(PeleeError) as caught:
        Classifier.load(model, **keywords)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_load_with_an_unsupported_size_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(images: np.ndarray) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied (1x2 and 512x3)")

    monkeypatch.setattr("pelee.runtime.selection.open_session", lambda *args, **keys: fail)
    with pytest.raises(SettingsError, match="toy takes no images of 2 px"):
        Classifier.load(save_toy(tmp_path / "toy", NAMES), runtime="torch", input_size=2)


def test_load_of_a_file_that_does_not_fit_its_card_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    use_session(monkeypatch, ROWS)  # of three classes
    with pytest.raises(WeightsError, match=r"gives \(1, 3\), its card names 2 classes: .* do not belong together"):
        Classifier.load(save_toy(tmp_path / "toy", ["ant", "bee"]))


def test_load_refuses_a_detector_and_an_unknown_name(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"pelee-voc: a model for detection, expected one for classification"):
        Classifier.load("pelee-voc")
    with pytest.raises(WeightsError, match="neither a shipped model"):
        Classifier.load("peleenet-tiny")


def test_load_passes_keywords_to_the_session(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given: dict[str, object] = {}
    session = LookupSession(ROWS)
    monkeypatch.setattr(
        "pelee.runtime.selection.open_session", lambda model, build, options: given.update(asdict(options)) or session
    )
    loaded = Classifier.load(
        save_toy(tmp_path / "toy", NAMES), runtime="openvino", device="CPU", precision="int8", mode="throughput"
    )
    chosen = {"runtime": "openvino", "device": "CPU", "precision": "int8", "mode": "throughput"}
    assert given.items() >= chosen.items()
    assert (loaded.runtime, loaded.input_size) == ("a table", 8)


@pytest.mark.slow
def test_shipped_classifier_recognizes_a_cat() -> None:
    best = Classifier.load()(ROOT / "data" / "samples" / "chelsea.jpg").best
    assert best.class_id in (30, 31, 32)  # tabby, Persian and Egyptian cat, among 200 classes


def test_a_jpeg_that_is_cut_off_is_an_input_with_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "cut.jpg"
    write_image(path, np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    path.write_bytes(path.read_bytes()[:-2])
    network = LookupSession(np.tile(ROWS[:1], (256, 1)))
    with pytest.warns(UserWarning, match="cut.jpg: the JPEG is cut off"):
        classification = Classifier(network, card(NAMES))(path)
    assert len(classification.probabilities) == len(NAMES)
