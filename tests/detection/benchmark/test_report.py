"""Benchmark report: machine, tables and the page that holds them."""

from pathlib import Path
from typing import Any

from detection.benchmark import report

RESULT: dict[str, Any] = {
    "machine": {
        "processor": "CPU",
        "cores": 2,
        "system": "OS",
        "python": "3",
        "versions": {"numpy": "2"},
        "instructions": ["avx2", "fma"],
        "free_cores": 1.9,
        "clock_mhz": 2500,
        "busy": False,
    },
    "settings": {"repeats": 50, "warm_up": 5, "rounds": 5, "pictures": 3},
    "networks": [
        {"name": "a", "batch": 1, "p50_ms": 5.0, "p95_ms": 6.0, "pictures_per_s": 200.0, "stages_ms": {"network": 4.5}},
        {"name": "b", "batch": 4, "p50_ms": 60.0, "p95_ms": 70.0, "pictures_per_s": 66.7, "memory_mb": 99.6},
    ],
    "absent": ["onnxruntime f32: not here"],
    "video": {
        "frames": 100,
        "runtime": "a",
        "stages_ms": {"decode": 1.0},
        "rates": {
            "decoder": 800.0,
            "network": 400.0,
            "pipeline": 380.0,
            "pipeline drawn": 300.0,
            "command": 200.0,
            "command drawn": 100.0,
        },
    },
}


def cells(text: str, first: str) -> list[str]:
    """The row of a table that begins so."""
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {first}")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_tables_by_hand() -> None:
    text = report.to_markdown(RESULT)
    assert cells(text, "a ") == ["a", "1", "5.00", "6.00", "4.50", "200.0", "", "1.00×", ""]
    assert cells(text, "b ") == ["b", "4", "60.00", "70.00", "", "66.7", "", "3.00×", "100"]  # 15 ms per image: 3 × 5
    assert "absent: onnxruntime f32: not here" in text and "busy" not in text
    assert cells(text, "the decoder")[1:] == ["800.0", "0.12", "200 %"]
    assert cells(text, "`pelee-detect --json`, once")[1:] == ["380.0", "0.26", "95 %"]
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(line) for line in tables[:4]}) == 1  # reads as text, too
    assert text.startswith("CPU, 2 cores (1.9 of them free), 2.50 GHz, avx2 fma, OS, Python 3, numpy 2.")
    busy = RESULT | {"machine": RESULT["machine"] | {"busy": True}}
    assert "busy machine" in report.to_markdown(busy)
    silent = {"free_cores": None, "clock_mhz": None, "instructions": []}
    assert report.to_markdown(RESULT | {"machine": RESULT["machine"] | silent}).startswith("CPU, 2 cores, OS, ")


def test_markdown_keeps_the_text_around_the_tables(tmp_path: Path) -> None:
    page = tmp_path / "speed.md"
    page.write_text("before\n<!-- bench:start -->\nold\n<!-- bench:end -->\nafter\n")
    for _ in range(2):
        report.write_between(page, "new\n")
        assert page.read_text() == "before\n<!-- bench:start -->\nnew\n<!-- bench:end -->\nafter\n"
