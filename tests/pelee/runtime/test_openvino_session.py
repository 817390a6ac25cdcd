"""OpenVINO's session on graphs of a few nodes: how it starts, what it keeps, and that it tells no one."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from data.errors import SettingsError, WeightsError
from pelee.runtime import openvino_session as module
from pelee.runtime.openvino_session import OpenVinoSession, import_openvino
from tests.support.paths import ROOT
from tests.support.tiny_openvino import SIZE, random_images, save_openvino


@pytest.mark.parametrize("mode", ["latency", "throughput"])
def test_outputs_in_their_order_and_of_any_batch(tmp_path: Path, mode: str) -> None:
    session = OpenVinoSession(save_openvino(tmp_path / "m"), mode=mode)
    assert (session.name, session.input_size) == ("openvino f32 CPU", SIZE)
    batches = [random_images(count) for count in (1, 3, 2, 5, 1, 4)]
    futures = [session.submit(images) for images in batches]
    for images, future in zip(batches, futures, strict=True):
        scaled, total = future.result(60)
        np.testing.assert_array_equal(scaled, images.astype(np.float32) / 2)
        np.testing.assert_allclose(total.ravel(), images.reshape(len(images), -1).sum(1) / 2, rtol=1e-6)


def test_a_model_of_another_size_or_none_at_all(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="OpenVINO cannot open it on CPU") as caught:
        OpenVinoSession(save_openvino(tmp_path / "m", size=SIZE * 2))
    assert "\n" not in str(caught.value)
    model = save_openvino(tmp_path / "text")
    model.path.write_text("no model")
    assert model.export is not None
    model.export.files["model.xml"] = hashlib.sha256(b"no model").hexdigest()
    with pytest.raises(WeightsError, match="OpenVINO cannot open it on CPU"):
        OpenVinoSession(model)


def test_the_cpu_is_found_without_the_plugins_of_other_devices() -> None:
    class Core:
        def __init__(self, *names: str) -> None:
            self.names, self.listed = names, 0

        def get_property(self, device: str, name: str) -> str:
            if device not in self.names:
                raise RuntimeError(f"no {device}")
            return name

        @property
        def available_devices(self) -> tuple[str, ...]:
            self.listed += 1
            return self.names

    core = Core("CPU", "GPU.0")
    assert [module._device(core, name) for name in ("auto", "cpu")] == ["CPU", "CPU"] and core.listed == 0
    assert module._device(core, "gpu") == "GPU"
    with pytest.raises(SettingsError, match=r"'auto' is not here .* auto or one of GPU$"):
        module._device(Core("GPU"), "auto")


@pytest.mark.slow
def test_operator_sets_are_imported_at_their_first_use() -> None:
    """They take two thirds of the import of openvino, and only export and quantization use them."""
    code = (
        "import sys\n"
        "from pelee.runtime.openvino_session import import_openvino\n"
        "openvino = import_openvino()\n"
        "assert not [name for name in sys.modules if name.startswith('openvino.opset')]\n"
        "from openvino import opset3\n"
        "import openvino.opset4 as opset4\n"
        "assert openvino.opset13.relu and opset3.relu and opset4.relu\n"
        "assert openvino.opset13 is sys.modules['openvino.opset13']\n"
        "assert not hasattr(openvino, 'opset99') and not hasattr(openvino, 'other')\n"
        "assert import_openvino() is openvino\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=300, check=True)


def test_other_threads_import_while_openvino_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """`pelee-detect` does: modules appear while those of the operator sets are looked for."""

    class Importing:
        def fullmatch(self, name: str) -> None:
            monkeypatch.setitem(sys.modules, f"appeared_with_{name}"[:60], ModuleType("appeared"))

    import_openvino()
    with module._without_opsets():
        monkeypatch.setattr(module, "_OPSET", Importing())


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


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="signals of POSIX")
def test_signals_are_handled_when_sessions_have_ended_in_the_order_of_their_start(tmp_path: Path) -> None:
    """OpenVINO's plugins leave the thread that loaded them a freed stack for signals: ctrl-C would crash."""
    code = (
        "import gc, os, signal\n"
        "from pathlib import Path\n"
        "from pelee.runtime.openvino_session import OpenVinoSession\n"
        "from tests.support.tiny_openvino import save_openvino\n"
        f"model = save_openvino(Path({str(tmp_path)!r}) / 'm')\n"
        "first, second = OpenVinoSession(model), OpenVinoSession(model)\n"
        "del first\n"
        "gc.collect()\n"
        "del second\n"
        "gc.collect()\n"
        "signal.signal(signal.SIGUSR1, lambda *_: print('handled'))\n"
        "os.kill(os.getpid(), signal.SIGUSR1)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (0, "handled\n")


def test_only_one_function_opens_openvino() -> None:
    """See `open_core`."""
    users = [
        (file, line)
        for folder in ("pelee", "detection", "serve", "data", "weights")
        for file in (ROOT / folder).rglob("*.py")
        for line in file.read_text(encoding="utf-8").splitlines()
        if re.search(r"\.Core\(|openvino\.compile_model", line)
    ]
    assert [(file.name, line.strip()) for file, line in users] == [
        ("openvino_session.py", "core = import_openvino().Core()")
    ]
