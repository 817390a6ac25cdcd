"""Arguments of `pelee-detect`: defaults, addresses, wrong usage, help."""

import subprocess
import sys

import pytest

from detection.commands import detect as cli
from detection.commands.detect_arguments import _host_port, parse_arguments
from detection.inference.options import DetectionOptions


def test_defaults_are_those_of_the_library() -> None:
    args = parse_arguments(["a.jpg"])
    assert args.max_detections == DetectionOptions().max_detections
    assert (args.conf, args.iou) == (None, None)  # the model's own
    assert (args.every, args.web, args.output, args.json) == (1, None, None, None)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("8081", ("127.0.0.1", 8081)),
        (":8081", ("127.0.0.1", 8081)),
        ("0.0.0.0:80", ("0.0.0.0", 80)),
        ("[::1]:80", ("::1", 80)),
        ("clip.mp4", None),
        ("host:99999", None),
        ("host:", None),
    ],
)
def test_addresses(text: str, address: tuple[str, int] | None) -> None:
    assert _host_port(text) == address


@pytest.mark.parametrize("options", [["--save-labels", "yolo"], ["--labels", "out"], ["--save-labels", "kitti"]])
def test_labels_need_a_format_and_a_folder(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse_arguments(["a.jpg", *options])
    assert stopped.value.code == 2 and "--save-labels" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["a.jpg", "--conf", "1.5"],
        ["a.jpg", "--conf", "x"],
        ["a.jpg", "--iou", "-1"],
        ["a.jpg", "--iou", "nan"],
        ["a.jpg", "--max-detections", "0"],
        ["a.jpg", "--max-detections", "2.5"],
        ["a.jpg", "--unknown"],
        ["a.jpg", "--output", "copy.jpg"],
        ["clip.mp4", "--output", "out/copy.MP4"],
        ["a.jpg", "--output", "copy.bmp"],
        ["clip.mp4", "--output", "copy.wmv"],
        ["a.jpg", "--output", "found.jsonl"],
        ["a.jpg", "--web", "gone.mp4"],
    ],
)
def test_wrong_usage_is_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2
    assert "pelee-detect: error:" in capsys.readouterr().err


def test_help_is_instant() -> None:
    heavy = "{'numpy', 'cv2', 'torch', 'supervision', 'av', 'rich', 'PIL'}"
    code = f"""
import sys
from detection.commands import detect as cli
try:
    cli.main(["--help"])
except SystemExit as stop:
    assert stop.code == 0
sys.stderr.write(repr(sorted({heavy} & set(sys.modules))))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "[]"
    assert "exit codes:" in done.stdout and "130" in done.stdout
