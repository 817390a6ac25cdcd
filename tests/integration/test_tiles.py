"""`pelee-detect --tiles`: images and video files."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detection.commands import detect as cli
from tests.support.detect_fixtures import fake_model, lines
from tests.support.rectangle_session import clip, picture

SMALL = (300, 500, 312, 512)  # of 1280 × 1280 pixels: too small for the rectangles' network in the whole image


@pytest.fixture(autouse=True)
def model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_model(monkeypatch)
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("tiles", ["auto", "8"])
def test_small_objects_of_images_are_found(tiles: str, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(picture(1280, 1280, SMALL)).save("a.png")
    assert cli.main(["a.png", "--json", "out.jsonl", "--tiles", tiles]) == 0
    (line,) = lines(Path("out.jsonl").read_text())
    np.testing.assert_allclose(line["detections"][0]["box"], SMALL, atol=3)
    assert cli.main(["a.png", "--json", "out.jsonl"]) == 0
    (line,) = lines(Path("out.jsonl").read_text())
    assert line["detections"] == []


def test_frames_of_a_video_are_tiled() -> None:
    clip(Path("a.mp4"), frames=5)
    assert cli.main(["a.mp4", "--json", "plain.jsonl"]) == 0
    assert cli.main(["a.mp4", "--json", "tiled.jsonl", "--tiles", "2", "--every", "2"]) == 0
    plain, tiled = lines(Path("plain.jsonl").read_text()), lines(Path("tiled.jsonl").read_text())
    # The rectangle is too large for tiles: the result is that of the whole frame.
    assert [line["frame"] for line in tiled] == [0, 2, 4] and tiled == [plain[0], plain[2], plain[4]]


def test_an_image_too_small_for_the_grid_is_reported_and_the_others_are_done(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("photos").mkdir()
    Image.fromarray(np.zeros((1, 1, 3), np.uint8)).save("photos/a.png")
    Image.fromarray(picture()).save("photos/b.png")
    assert cli.main(["photos", "--json", "out.jsonl", "--tiles", "2"]) == 1
    assert [Path(line["source"]).name for line in lines(Path("out.jsonl").read_text())] == ["b.png"]
    assert "a.png: a grid of 2x2 tiles for an image of 1 × 1 pixels" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--tiles", "2x"], ["--tiles", "2", "--tile-overlap", "0.7"]])
def test_wrong_tiles_are_one_line_before_any_work(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(picture()).save("a.png")
    assert cli.main(["a.png", "--json", "out.jsonl", *words]) == 2
    assert not Path("out.jsonl").exists()
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
