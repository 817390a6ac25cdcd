"""OpenVINO's session on graphs of a few nodes: how it starts, what it keeps, and that it tells no one."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from data.errors import WeightsError
from pelee.runtime import openvino_cache as compiled
from pelee.runtime.openvino_session import OpenVinoSession, import_openvino
from tests.support.paths import ROOT
from weights.card import Card
from weights.export_manifest import Export
from weights.store import ModelFile

SIZE = 8


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(compiled, "cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache"


def save(folder: Path, factor: float = 0.5, size: int = SIZE) -> ModelFile:
    """A model of any batch: its pictures times `factor`, and each one's sum."""
    openvino = import_openvino()
    ops = openvino.opset8
    images = ops.parameter([-1, size, size, 3], np.uint8, name="images")
    scaled = ops.multiply(ops.convert(images, np.float32), ops.constant(np.float32(factor)))
    total = ops.reduce_sum(scaled, np.array([1, 2, 3]), keep_dims=True)
    folder.mkdir()
    openvino.save_model(openvino.Model([scaled, total], [images]), folder / "model.xml", compress_to_fp16=False)
    files = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in ("model.xml", "model.bin")}
    return ModelFile(
        Card("m", "detection", "x", ["a"], SIZE),
        folder / "model.xml",
        Export("openvino", "f32", False, SIZE, "", files),
    )


def pictures(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)


@pytest.mark.parametrize("mode", ["latency", "throughput"])
def test_outputs_in_their_order_and_of_any_batch(tmp_path: Path, mode: str) -> None:
    session = OpenVinoSession(save(tmp_path / "m"), mode=mode)
    assert (session.name, session.input_size) == ("openvino f32 CPU", SIZE)
    batches = [pictures(count) for count in (1, 3, 2, 5, 1, 4)]
    futures = [session.submit(images) for images in batches]
    for images, future in zip(batches, futures, strict=True):
        scaled, total = future.result(60)
        np.testing.assert_array_equal(scaled, images.astype(np.float32) / 2)
        np.testing.assert_allclose(total.ravel(), images.reshape(len(images), -1).sum(1) / 2, rtol=1e-6)


def test_a_compiled_model_is_kept_and_opened_again(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = save(tmp_path / "m")
    first = OpenVinoSession(model)(pictures(2))
    (entry,) = cache.iterdir()
    monkeypatch.setattr(compiled, "_compile", lambda *_: pytest.fail("compiled again"))
    for ours, theirs in zip(OpenVinoSession(model)(pictures(2)), first, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    monkeypatch.undo()
    monkeypatch.setattr(compiled, "cache_folder", lambda: cache)
    other = save(tmp_path / "other", factor=2)
    np.testing.assert_array_equal(OpenVinoSession(other)(pictures(2))[0], first[0] * 4)
    OpenVinoSession(model, mode="throughput")
    assert len(list(cache.iterdir())) == 3 and entry.exists()


@pytest.mark.parametrize("damage", [b"", b"short", bytes(500)])
def test_a_damaged_entry_is_made_anew(tmp_path: Path, cache: Path, damage: bytes) -> None:
    model = save(tmp_path / "m")
    OpenVinoSession(model)
    (entry,) = cache.iterdir()
    # with a right digest, too, so that it is OpenVINO who refuses it
    for content in (damage, hashlib.sha256(damage).digest() + damage):
        entry.write_bytes(content)
        assert OpenVinoSession(model)(pictures(1))[0].shape == (1, SIZE, SIZE, 3)
        written = entry.read_bytes()
        assert len(written) > 1000 and written[:32] == hashlib.sha256(written[32:]).digest()


def test_old_entries_go(cache: Path) -> None:
    cache.mkdir()
    for number in range(compiled.ENTRIES + 3):
        (cache / f"{number}.blob").touch()
        os.utime(cache / f"{number}.blob", (number, number))
    compiled._forget_old(cache)
    left = {int(path.stem) for path in cache.iterdir()}
    assert left == set(range(3, compiled.ENTRIES + 3))


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(compiled, "cache_folder", lambda: tmp_path / "file" / "cache")
    assert OpenVinoSession(save(tmp_path / "m"))(pictures(1))[1].shape == (1, 1, 1, 1)


def test_a_model_of_another_size_or_none_at_all(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="OpenVINO cannot open it on CPU") as caught:
        OpenVinoSession(save(tmp_path / "m", size=SIZE * 2))
    assert "\n" not in str(caught.value)
    model = save(tmp_path / "text")
    model.path.write_text("no model")
    assert model.export is not None
    model.export.files["model.xml"] = hashlib.sha256(b"no model").hexdigest()
    with pytest.raises(WeightsError, match="OpenVINO cannot open it on CPU"):
        OpenVinoSession(model)


@pytest.mark.slow
def test_nothing_is_reported_home(tmp_path: Path) -> None:
    """As it comes, `import openvino` leaves a client's number in the home folder, and sends an event."""
    code = (
        "import json, sys\n"
        "from pelee.runtime.openvino_session import import_openvino\n"
        "import_openvino().Core()\n"
        "import nncf\n"
        "telemetry = [name for name, module in sys.modules.items() if 'openvino_telemetry' in name and module]\n"
        "print(json.dumps([telemetry, 'torch' in sys.modules]))"
    )
    home = tmp_path / "home"
    home.mkdir()
    environment = os.environ | {"HOME": str(home), "USERPROFILE": str(home)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=True
    )
    assert json.loads(done.stdout)[0] == []
    assert list(home.iterdir()) == []
