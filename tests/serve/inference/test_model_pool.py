"""Model pool: lookup, warm-up, reload, and equality with `Detector` and `Classifier`."""

import dataclasses
import gc
import subprocess
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest

from data.errors import SettingsError, WeightsError
from data.images.image_io import read_image
from detection.detector import Detector
from detection.inference.result_formats import to_dict
from pelee.classification.classifier import Classifier
from serve.errors import ServiceError
from serve.inference.model_pool import ModelPool, ModelSource, find_models, load_model
from serve.settings import ServeSettings, load_settings
from tests.support.fake_server import FakeNetwork, running, settings, wait_until
from tests.support.paths import ROOT
from weights.card import Card
from weights.store import find_exports, resolve

EXAMPLE = ROOT / "data" / "samples" / "chelsea.jpg"


def test_models_are_found_before_they_are_loaded() -> None:
    found = find_models(settings(models=["peleenet-tiny-imagenet", "pelee-voc"]))
    assert list(found) == ["peleenet-tiny-imagenet", "pelee-voc"]
    models = ModelPool(found)
    assert not models.ready
    assert (models.default("detection"), models.default("classification")) == ("pelee-voc", "peleenet-tiny-imagenet")
    assert [model["ready"] for model in models.describe()["models"]] == [False, False]
    with pytest.raises(WeightsError, match="ghost"):
        find_models(settings(models=["ghost"]))
    with pytest.raises(SettingsError, match="two models"):
        find_models(settings(models=["pelee-voc", "pelee-voc"]))


def test_a_reload_replaces_the_model_for_later_requests() -> None:
    models = ModelPool({"fake": FakeNetwork().source()})
    with pytest.raises(ServiceError, match="being loaded"):
        models.get("fake", "detection")
    models.load_all()
    before = models.get(None, "detection")
    after = models.reload("fake")
    assert models.get("fake", "detection") is after and before is not after


def test_a_reload_to_another_task_is_refused() -> None:
    network = FakeNetwork()
    good = network.source()
    other = dataclasses.replace(good.card, task="classification")
    loads = iter([good.load(), dataclasses.replace(good.load(), card=other)])
    models = ModelPool({"fake": ModelSource(good.card, lambda: next(loads))})
    models.load_all()
    with pytest.raises(SettingsError, match="was a model for detection"):
        models.reload("fake")
    assert models.get("fake", "detection").card.task == "detection"


@pytest.mark.slow
def test_the_shipped_model_has_the_results_of_the_detector() -> None:
    with running(find_models(settings(models=["pelee-voc"])), deadline_s=60) as server:
        answer = server.client.post("/detect?conf=0.3", content=EXAMPLE.read_bytes()).json()
    image = read_image(EXAMPLE)
    detector = Detector.load("pelee-voc")
    (found,) = detector.predict_batch([image], 0.3)
    assert answer == to_dict("upload", 0, image.shape[1], image.shape[0], found, detector.class_names)
    assert len(answer["detections"]) > 0


@pytest.mark.parametrize(
    ("mode", "streams", "opened"),
    [("auto", 2, ["throughput", "latency"]), ("auto", 1, ["throughput"]), ("latency", 2, ["latency"])],
)
def test_the_low_latency_session_is_separate_where_it_differs(
    monkeypatch: pytest.MonkeyPatch, mode: str, streams: int, opened: list[str]
) -> None:
    """In the mode for many at a time, one image alone would leave the other cores idle."""
    sessions = {name: FakeNetwork() for name in ("latency", "throughput")}
    sessions["throughput"].parallel = streams
    asked = []

    def open_one(given: str, chosen: ServeSettings, mode: str) -> tuple[Card, FakeNetwork]:
        asked.append(mode)
        return FakeNetwork().source().card, sessions[mode]

    monkeypatch.setattr("serve.inference.model_pool._open", open_one)
    model = load_model("x", "x", settings(mode=mode))
    assert asked == opened
    assert (model.session, model.low_latency_session) == (sessions[opened[0]], sessions[opened[-1]])


@pytest.mark.slow
def test_a_replaced_model_is_released() -> None:
    with running(find_models(settings(models=["pelee-voc"])), deadline_s=60) as server:
        models, content = server.service.models, EXAMPLE.read_bytes()
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: server.client.post("/detect", content=content), range(8)))
        old = weakref.ref(models.get(None, "detection").session)
        models.reload("pelee-voc")
        wait_until(lambda: gc.collect() is not None and old() is None, 10)
        assert old() is None


@pytest.mark.slow
@pytest.mark.parametrize("name", load_settings().models)
def test_the_shipped_models_are_served_without_torch(name: str) -> None:
    """As `pip install 'pelee[serve]'` has them: torch cannot be imported at all."""
    if not find_exports(resolve(name)):
        pytest.skip(f"{name} has no export")
    code = (
        "import sys\nsys.modules['torch'] = sys.modules['supervision'] = None\n"
        "import serve.web.server\nfrom serve.inference.model_pool import ModelPool, find_models\n"
        "from serve.settings import load_settings\n"
        f"models = ModelPool(find_models(load_settings(models=[{name!r}])))\nmodels.load_all()\n"
        "print(models.describe()['models'][0]['runtime'])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.startswith("openvino"), done.stderr


@pytest.mark.slow
def test_the_shipped_classifier_has_the_results_of_the_classifier() -> None:
    with running(find_models(settings(models=["peleenet-tiny-imagenet"])), deadline_s=60) as server:
        answer = server.client.post("/classify?top=3", content=EXAMPLE.read_bytes()).json()
    expected = [(name, score) for name, _, score in Classifier.load("peleenet-tiny-imagenet")(EXAMPLE).top(3)]
    assert [found["label"] for found in answer["classes"]] == [name for name, _ in expected]
    assert [found["score"] for found in answer["classes"]] == pytest.approx([score for _, score in expected], abs=1e-3)
