"""Arguments of `pelee-detect`: defaults, addresses."""

import pytest

from detection.commands.detect_arguments import _host_port, parse_arguments
from detection.inference.options import DetectionOptions


def test_defaults_are_those_of_the_library() -> None:
    args = parse_arguments(["a.jpg"])
    assert (args.iou, args.max_detections) == (DetectionOptions().iou, DetectionOptions().max_detections)
    assert (args.conf, args.every, args.web, args.output, args.json) == (None, 1, None, None, None)


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
