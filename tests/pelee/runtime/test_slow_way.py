"""Hint for a model that runs in PyTorch on a CPU."""

from pathlib import Path

import pytest

from pelee.commands.classify import main
from pelee.runtime.session import RuntimeOptions
from pelee.runtime.slow_way import slow_way
from tests.support.tiny_classifier import save_small
from tests.support.tiny_detector import save_pictures


@pytest.mark.parametrize(
    ("session", "options"),
    [
        ("openvino int8 CPU", RuntimeOptions()),
        ("torch bf16 cuda", RuntimeOptions()),
        ("torch f32 cpu", RuntimeOptions(runtime="torch")),
        ("torch bf16 cpu", RuntimeOptions(precision="bf16")),
    ],
)
def test_a_fast_runtime_and_a_chosen_one_give_no_hint(tmp_path: Path, session: str, options: RuntimeOptions) -> None:
    save_small(tmp_path / "model")
    assert slow_way(tmp_path / "model", session, options) is None


def test_an_input_of_another_size_has_no_export() -> None:
    hint = slow_way("pelee-voc", "torch f32 cpu", RuntimeOptions(size=512))
    assert hint is not None and hint.endswith("exports have one size, 304: leave out --input-size for a faster run")


@pytest.mark.slow
def test_a_command_prints_the_hint_as_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_small(tmp_path / "model")
    images = str(save_pictures(tmp_path / "images", 1))
    words = [images, "--weights", str(tmp_path / "model"), "--json", "-"]
    assert main([*words, "--runtime", "torch"]) == 0
    assert "slower" not in capsys.readouterr().err
    assert main(words) == 0
    (hint,) = [line for line in capsys.readouterr().err.splitlines() if "slower" in line]
    assert hint.startswith("note: small runs in torch f32 cpu, several times slower than an OpenVINO export; make one")
    assert f"pelee-export --weights {tmp_path / 'model'} --format openvino --int8 --calibration DIR" in hint
