"""The models that are served: found by name, the shipped one as `Detector` gives it, replaced while it is asked."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
from fakes import FakeNetwork, running, settings

from data.errors import SettingsError, WeightsError
from data.images import read_image
from detection.detector import Detector
from detection.results import to_dict
from serve.errors import ServiceError
from serve.models import Models, Source, find_models
from weights.store import find_exports, resolve

ROOT = Path(__file__).parent.parent.parent
EXAMPLE = ROOT / "data" / "samples" / "chelsea.jpg"


def test_models_are_found_before_they_are_loaded() -> None:
    found = find_models(settings(models=["peleenet-tiny-imagenet", "pelee-voc"]))
    assert list(found) == ["peleenet-tiny-imagenet", "pelee-voc"]
    models = Models(found)
    assert not models.ready
    assert (models.default("detection"), models.default("classification")) == ("pelee-voc", "peleenet-tiny-imagenet")
    assert [model["ready"] for model in models.describe()["models"]] == [False, False]
    with pytest.raises(WeightsError, match="ghost"):
        find_models(settings(models=["ghost"]))
    with pytest.raises(SettingsError, match="two models"):
        find_models(settings(models=["pelee-voc", "pelee-voc"]))


def test_a_reload_replaces_for_those_after_it() -> None:
    models = Models({"fake": FakeNetwork().source()})
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
    models = Models({"fake": Source(good.card, lambda: next(loads))})
    models.load_all()
    with pytest.raises(SettingsError, match="was a model for detection"):
        models.reload("fake")
    assert models.get("fake", "detection").card.task == "detection"


def test_the_shipped_model_answers_as_the_detector_does() -> None:
    with running(find_models(settings(models=["pelee-voc"])), deadline_s=60) as server:
        answer = server.client.post("/detect?conf=0.3", content=EXAMPLE.read_bytes()).json()
    image = read_image(EXAMPLE)
    detector = Detector.load("pelee-voc")
    (found,) = detector.predict_batch([image], 0.3)
    assert answer == to_dict("upload", 0, image.shape[1], image.shape[0], found, detector.class_names)
    assert len(answer["detections"]) > 0


@pytest.mark.skipif(not find_exports(resolve("pelee-voc")), reason="the model has no export")
def test_the_shipped_detector_is_served_without_torch() -> None:
    code = (
        "import sys\nfrom serve.models import Models, find_models\nfrom serve.settings import load_settings\n"
        "import serve.server\n"
        "Models(find_models(load_settings(models=['pelee-voc']))).load_all()\n"
        "print(sorted({'torch', 'torchvision', 'supervision'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stderr
