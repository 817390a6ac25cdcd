from importlib import metadata

from pelee.diagnosis import software
from pelee.runtime import openvino_cache

REQUIRES = [
    "numpy>=1.26",
    "no-such-package>=1",
    'torch>=2; extra == "train"',
    'no_such_extra; extra == "train"',
    'pelee[docs]; extra == "dev"',
    'pytest; extra == "dev"',
]


def test_versions_without_what_is_missing(monkeypatch):
    monkeypatch.setattr(metadata, "requires", lambda name: REQUIRES)
    assert software.requirements(optional=False) == ["no-such-package", "numpy"]
    assert software.requirements(optional=True) == ["no_such_extra", "torch"]
    text, details = software.packages()
    assert text.startswith("no-such-package (not installed), numpy ")
    assert details["versions"]["no-such-package"] is None
    text, details = software.optional_packages()
    assert text.endswith("; not installed: no_such_extra") and details["versions"]["no_such_extra"] is None


def test_a_checkout_that_is_not_installed(monkeypatch):
    monkeypatch.setattr(software, "DISTRIBUTION", "no-such-distribution")
    assert software.pelee()[0].startswith("not installed, in ")
    assert software.requirements(optional=True) == []


def test_keys_are_not_published(monkeypatch):
    secrets = {
        "PELEE_API_KEYS": "0123456789abcdef",
        "PELEE_MQTT_PASSWORD": "0123456789abcdef",
        "PELEE_HOOK_TOKEN": "0123456789abcdef",
        "PELEE_YARD": "rtsp://user:0123456789abcdef@10.0.0.2/stream",
    }
    for name, value in {**secrets, "PELEE_MODELS": "/srv/models"}.items():
        monkeypatch.setenv(name, value)
    text, details = software.environment()
    assert "0123456789abcdef" not in text + str(details)
    assert all(f"{name}=(set)" in text for name in secrets) and "PELEE_MODELS=/srv/models" in text


def test_models_and_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PELEE_MODEL_FOLDER", str(tmp_path / "models"))
    text, details = software.models()
    assert "pelee-voc" in details["shipped"] and details["installed"] == [] and str(tmp_path) in text
    folder = tmp_path / "cache" / "openvino"
    monkeypatch.setattr(openvino_cache, "cache_folder", lambda: folder)
    assert software.cache()[1] == {"folder": str(folder), "entries": 0, "bytes": 0, "writable": True}
    folder.mkdir(parents=True)
    (folder / "a.blob").write_bytes(bytes(2_000_000))
    monkeypatch.setattr(software.os, "access", lambda path, mode: False)
    assert software.cache()[0] == f"{folder}: 1 models, 2 MB; not writable"


def test_devices_of_openvino():
    text, details = software.openvino_devices()
    assert text.startswith("CPU (") and details["devices"]["CPU"]["capabilities"]
