"""Comparison of benchmarks: another machine changes nothing, a part that grew against the others does."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from data.errors import SettingsError
from detection.benchmark.comparison import read_stored, slower
from detection.commands import bench

RATES = {"decoder": 800.0, "network": 400.0, "pipeline": 320.0, "pipeline drawn": 200.0, "command": 160.0}
STORED: dict[str, Any] = {
    "machine": {},
    "networks": [
        {"name": "openvino int8 CPU", "batch": 1, "p50_ms": 5.0, "stages_ms": {"network": 4.0}},
        {"name": "openvino f32 CPU", "batch": 1, "p50_ms": 10.0, "stages_ms": {"network": 9.0}},
        {"name": "torch f32 cpu", "batch": 4, "p50_ms": 80.0, "stages_ms": {"network": 19.0}},
    ],
    "video": {"rates": RATES | {"command drawn": 100.0}},
}


def changed(factor: float) -> dict[str, Any]:
    """The stored run on a machine that takes `factor` times as long for everything."""
    result = copy.deepcopy(STORED)
    for row in result["networks"]:
        row["p50_ms"] *= factor
        row["stages_ms"]["network"] *= factor
    result["video"]["rates"] = {name: rate / factor for name, rate in RATES.items()} | {"command drawn": 100 / factor}
    return result


def test_another_machine_is_not_slower() -> None:
    assert slower(changed(1), STORED) == slower(changed(3), STORED) == slower(changed(0.4), STORED) == []


def test_what_grew_against_the_rest_is_named() -> None:
    result = changed(2)
    result["networks"][0]["p50_ms"] *= 1.3  # around the network, which is as it was
    result["video"]["rates"]["pipeline"] /= 1.21
    result["video"]["rates"]["command"] /= 1.19
    assert slower(result, STORED) == [
        "slower: openvino int8 CPU, batch 1: a call by its network: 1.25 -> 1.62 (+30 %)",
        "slower: video, pipeline: by the network alone: 1.25 -> 1.51 (+21 %)",
        "slower: openvino int8 CPU, batch 1: by the other rows: 1.00 -> 1.30 (+30 %)",
    ]
    network = changed(2)
    network["networks"][0]["p50_ms"] *= 1.5
    network["networks"][0]["stages_ms"]["network"] *= 1.5
    assert slower(network, STORED) == ["slower: openvino int8 CPU, batch 1: by the other rows: 1.00 -> 1.50 (+50 %)"]


def test_runs_without_a_common_row_are_an_error() -> None:
    with pytest.raises(SettingsError, match="no row in common"):
        slower({"networks": []}, STORED)


def test_the_command_ends_with_1_where_something_is_slower(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bench.json"
    file.write_text(json.dumps(STORED))
    result = changed(2)
    monkeypatch.setattr(bench, "measure", lambda options: result)
    monkeypatch.setattr("detection.benchmark.report.to_markdown", lambda result: "")
    assert bench.main(["photo.png", "--check", str(file)]) == 0
    assert "nothing is slower" in capsys.readouterr().err
    result["video"]["rates"]["pipeline"] /= 1.3
    assert bench.main(["photo.png", "--check", str(file)]) == 1
    assert capsys.readouterr().err.startswith("slower: video, pipeline: ")


@pytest.mark.parametrize("text", ["", "[]", '{"networks": [{}]}', '{"networks": null}', '{"networks": ["a"]}'])
def test_another_file_is_one_line_before_the_work(tmp_path: Path, text: str) -> None:
    (tmp_path / "other.json").write_text(text)
    with pytest.raises(SettingsError, match="not a result of pelee-bench --json"):
        read_stored(tmp_path / "other.json")
    with pytest.raises(SettingsError, match="No such file"):
        read_stored(tmp_path / "none.json")
