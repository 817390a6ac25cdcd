"""`pelee-detect` with images: inputs, outputs, messages, exit codes."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.datasets.registry import open_dataset
from data.errors import WeightsError
from data.images.image_io import read_image, read_size
from detection.commands import detect as cli
from tests.support.detect_fixtures import fake_model, lines, make_photos, tree
from tests.support.paths import ROOT
from tests.support.rectangle_session import clip, picture


@pytest.fixture(autouse=True)
def model(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_model(monkeypatch)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return make_photos(tmp_path, monkeypatch)


def test_a_folder_with_everything(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["photos", "--output", "out", "--json", "found.jsonl"]) == 0
    assert tree("out") == ["a.jpg", "sub/a.jpg", "sub/none.jpg"]
    assert (read_image("out/a.jpg") != read_image("photos/a.jpg")).any()
    assert read_image("out/sub/a.jpg").shape == (100, 200, 3)
    first, second, third = lines(Path("found.jsonl").read_text())
    assert (first["source"], first["frame"], first["width"], first["height"]) == ("photos/a.jpg", 0, 256, 128)
    assert [item["label"] for item in second["detections"]] == ["red thing", "white thing"]
    np.testing.assert_allclose(second["detections"][1]["box"], [120, 30, 180, 70], atol=2)
    assert third["detections"] == []
    out, err = capsys.readouterr()
    assert err == ""  # no terminal, no bars
    assert "1 red thing, 1 white thing" in out and "2 red thing, 1 white thing" in out and "nothing" in out
    assert "images/s" in out and "network" in out and "encode" in out


def test_json_on_stdout_moves_the_table_to_stderr(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["photos/a.jpg", "--json", "-"]) == 0
    out, err = capsys.readouterr()
    assert [line["source"] for line in lines(out)] == ["photos/a.jpg"]
    assert "red thing" in err and "images/s" in err
    assert tree(".") == ["photos/a.jpg", "photos/sub/a.png", "photos/sub/none.png"]  # nothing else was written


def test_the_card_decides_the_confidence_unless_told(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def found(*options: str) -> list[str]:
        assert cli.main(["photos/sub/a.png", "--json", "-", *options]) == 0
        return [item["label"] for item in lines(capsys.readouterr().out)[0]["detections"]]

    assert found() == ["red thing", "white thing"]
    assert found("--conf", "0.7") == ["red thing"]
    assert found("--classes", "white thing, unseen") == ["white thing"]
    assert found("--classes", "1") == ["white thing"]
    assert found("--max-detections", "1") == ["red thing"]


def test_patterns_that_the_shell_left_alone(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("photos/notes.txt").write_text("no picture")
    clip(Path("photos/clip.mp4"), frames=3)
    assert cli.main(["photos/*", "--json", "-"]) == 0
    found = lines(capsys.readouterr().out)
    assert [line["source"] for line in found[:3]] == ["photos/a.jpg", "photos/sub/a.png", "photos/sub/none.png"]
    assert [(line["source"], line["frame"]) for line in found[3:]] == [("photos/clip.mp4", n) for n in range(3)]


def test_a_file_whose_name_looks_like_a_pattern(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("photos/a.jpg").rename("[a]*.jpg")
    assert cli.main(["[a]*.jpg", "--json", "-"]) == 0
    out, err = capsys.readouterr()
    assert lines(out)[0]["source"] == "[a]*.jpg" and "[a]*.jpg" in err


def test_each_image_once(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["photos/a.jpg", "photos", str(photos.resolve()), "--json", "-"]) == 0
    assert len(lines(capsys.readouterr().out)) == 3


def test_equal_names_do_not_overwrite_each_other(photos: Path) -> None:
    Path("other").mkdir()
    Image.fromarray(picture()).save("other/a.jpg")
    Image.fromarray(picture()).save("other/A.png")
    assert cli.main(["photos", "other", "photos/sub/a.png", "--output", "out"]) == 0
    assert tree("out") == sorted(["a.jpg", "sub/a.jpg", "sub/none.jpg", "A-2.jpg", "a-3.jpg"])


def test_results_of_an_earlier_run_are_no_input(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        assert cli.main([".", "--output", "out", "--json", "-"]) == 0
        assert len(lines(capsys.readouterr().out)) == 3
    assert tree("out") == ["photos/a.jpg", "photos/sub/a.jpg", "photos/sub/none.jpg"]


def test_a_image_is_never_overwritten_by_its_result(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = Path("photos/a.jpg").read_bytes()
    assert cli.main(["photos", "--output", "photos"]) == 2
    assert "would overwrite photos/a.jpg" in capsys.readouterr().err
    assert Path("photos/a.jpg").read_bytes() == before


def test_what_cannot_be_read_is_a_line_and_the_rest_is_done(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("photos/broken.jpg").write_bytes(b"\xff\xd8 not an image")
    Path("photos/empty.mp4").write_bytes(b"")
    assert cli.main(["photos", "gone.jpg", "photos/empty.mp4", "none/*.png", "--output", "out", "--json", "-"]) == 1
    out, err = capsys.readouterr()
    assert len(lines(out)) == 3 and tree("out") == ["a.jpg", "sub/a.jpg", "sub/none.jpg"]
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 4
    for name in ("broken.jpg", "gone.jpg", "empty.mp4", "none/*.png"):
        assert sum(name in line for line in errors) == 1


@pytest.mark.parametrize("inputs", [["gone.jpg"], ["broken.jpg"], ["empty"], ["*.bmp"], ["cam0"]])
def test_nothing_read_is_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], inputs: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("broken.jpg").write_bytes(b"no")
    Path("empty").mkdir()
    assert cli.main(inputs) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and len(err.splitlines()) == 1
    if inputs == ["cam0"]:
        assert "--video" in err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--classes", "red thin"], "did you mean 'red thing'"),
        (["--classes", ","], "classes is empty"),
        (["--weights", "pelee-vok"], "pelee-vok"),
        (["--output", "photos/a.jpg"], "is a file; name a folder"),
        (["--json", "photos"], "is a folder; name a file"),
    ],
)
def test_wrong_settings_are_one_line_before_any_work(
    photos: Path, capsys: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    assert cli.main(["photos", *options]) == 2
    out, err = capsys.readouterr()
    assert out == "" and words in err and len(err.splitlines()) == 1


@pytest.mark.skipif(os.geteuid() == 0 if hasattr(os, "geteuid") else True, reason="root may write everywhere")
def test_an_output_folder_that_cannot_be_written(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("locked").mkdir(mode=0o500)
    assert cli.main(["photos", "--output", "locked"]) == 2
    assert "locked" in capsys.readouterr().err


def test_a_full_disk_ends_the_run_with_a_line_and_keeps_what_is_whole(
    photos: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from detection.pipeline import annotated_copies

    Path("found.jsonl").write_text("old")
    write = annotated_copies.write_image

    def fail_at_second(path: Path, image: np.ndarray) -> None:
        if path.name != "a.jpg" or path.parent.name == "sub":
            raise OSError(28, "No space left on device", str(path))
        write(path, image)

    monkeypatch.setattr(annotated_copies, "write_image", fail_at_second)
    assert cli.main(["photos", "--output", "out", "--json", "found.jsonl"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: No space left on device: out/sub/a.jpg") and len(err.splitlines()) == 1
    assert tree("out") == ["a.jpg"]
    # A line is told when its copy is there.
    assert [line["source"] for line in lines(Path("found.jsonl").read_text())] == ["photos/a.jpg"]


@pytest.mark.slow
def test_a_copy_that_cannot_be_written_does_not_end_the_run(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Too wide for a JPEG; a folder of its name; names as long as they may be."""
    long = "x" * 242
    Image.fromarray(picture(70_000, 4, (0, 0, 8, 4))).save("photos/wide.png")
    Image.fromarray(picture()).save(f"photos/{long}.png")
    Path("out/a.jpg").mkdir(parents=True)
    clip(Path("clip.mp4"), frames=3)
    Path("out/clip.mp4").mkdir()
    assert cli.main(["photos", "clip.mp4", "--output", "out", "--json", "-"]) == 1
    out, err = capsys.readouterr()
    assert len(lines(out)) == 5 + 3
    assert tree("out") == ["sub/a.jpg", "sub/none.jpg", f"{long}.jpg"]
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 3
    assert "error: out/wide.jpg: not written: a JPEG has up to 65500 px a side, this has 70000x4" in errors
    assert "error: out/a.jpg is a folder; expected the name of an image to write" in errors
    assert "error: out/clip.mp4: not written: Is a directory" in errors
    assert f"annotated copies: out/sub/a.jpg, out/sub/none.jpg, out/{long}.jpg\n" in err


@pytest.mark.slow
def test_a_video_that_the_encoder_refuses_is_an_error_of_that_video(
    photos: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from detection.video.video_writer import VideoWriter

    for name in ("one.mp4", "two.mp4"):
        clip(Path(name), frames=4)
    write = VideoWriter.write

    def refuse(self: VideoWriter, image: np.ndarray, time: object = None) -> None:
        if self._path.name == "one.mp4" and self.frames == 2:
            raise OSError(-542398533, "Generic error in an external library", str(self._path))
        write(self, image, time)  # type: ignore[arg-type]

    monkeypatch.setattr(VideoWriter, "write", refuse)
    assert cli.main(["one.mp4", "two.mp4", "--output", "out", "--json", "-", "--snapshot-every", "0.1"]) == 1
    out, err = capsys.readouterr()
    assert [line["source"] for line in lines(out)] == ["one.mp4"] * 4 + ["two.mp4"] * 4
    assert err.splitlines()[0] == "error: out/one.mp4: not written: Generic error in an external library"
    assert [name for name in tree("out") if name.endswith(".mp4")] == ["two.mp4"]


def test_an_output_folder_may_have_any_name_once_it_exists(photos: Path) -> None:
    Path("out.jpg").mkdir()
    assert cli.main(["photos/a.jpg", "--output", "out.jpg"]) == 0
    assert tree("out.jpg") == ["a.jpg"]


def test_an_input_after_web_is_an_input(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []
    monkeypatch.setattr(cli, "_detect", lambda args: seen.append((args.web, args.inputs)) or 0)
    assert cli.main(["--web", "photos/a.jpg", "photos/sub"]) == 0
    assert cli.main(["photos/sub", "--web", "8081"]) == 0
    assert cli.main(["photos/sub", "--web", "0.0.0.0:80"]) == 0
    assert cli.main(["photos/sub", "--web"]) == 0
    assert seen == [
        (("127.0.0.1", 8080), ["photos/a.jpg", "photos/sub"]),
        (("127.0.0.1", 8081), ["photos/sub"]),
        (("0.0.0.0", 80), ["photos/sub"]),
        (("127.0.0.1", 8080), ["photos/sub"]),
    ]


def test_tracking_of_images_is_said_to_be_none(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("trackers")
    assert cli.main(["photos/a.jpg", "--track", "--json", "-"]) == 0
    out, err = capsys.readouterr()
    assert "only videos are tracked, not images" in err and "counts" not in lines(out)[0]


def test_a_line_outside_one_videos_frame_ends_that_video_only(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("trackers")
    clip(Path("large.mp4"), frames=3, width=256, height=128)
    clip(Path("small.mp4"), frames=3, width=64, height=48)
    words = ["small.mp4", "large.mp4", "photos/a.jpg", "--line", "0,100,200,100", "--output", "out", "--json", "-"]
    assert cli.main(words) == 1
    out, err = capsys.readouterr()
    assert [line["source"] for line in lines(out)] == ["photos/a.jpg"] + ["large.mp4"] * 3
    assert "error: small.mp4: '--line 0,100,200,100' reaches to 200,100, and the frame is 64x48; give" in err
    assert tree("out") == ["a.jpg", "large.mp4"]
    assert cli.main(["small.mp4", "--line", "0,100,200,100"]) == 2


def test_json_does_not_replace_an_image(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = Path("photos/a.jpg").read_bytes()
    assert cli.main(["photos/sub/a.png", "--json", "photos/a.jpg"]) == 2
    assert cli.main(["photos/a.jpg", "--json", "photos/a.jpg"]) == 2
    assert capsys.readouterr().err.count("photos/a.jpg exists and is no JSON file") == 2
    assert Path("photos/a.jpg").read_bytes() == before


def test_json_to_something_that_is_no_file_is_not_replaced(photos: Path) -> None:
    assert cli.main(["photos", "--json", os.devnull]) == 0
    assert not Path(os.devnull).is_file()


def test_many_images_are_told_by_folder(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for index in range(50):
        Image.fromarray(picture(32, 32, (4, 4, 28, 28))).save(photos / f"{index}.png")
    assert cli.main(["photos"]) == 0
    out = capsys.readouterr().out
    assert len(out.splitlines()) < 10 and "52 red thing" in out and "53" in out


@pytest.mark.parametrize(
    ("inputs", "mode"),
    [
        (["photos/a.jpg"], "latency"),
        (["photos/a.jpg", "--tiles", "2"], "throughput"),
        (["photos"], "throughput"),
        (["clip.mp4"], "throughput"),
        (["--video", "cam0"], "latency"),
        (["--video", "cam0", "--video", "cam1"], "throughput"),
        (["-"], "latency"),
    ],
)
def test_flags_of_the_runtime_and_the_mode_that_fits(
    photos: Path, inputs: list[str], mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[object] = []

    def load(name: str, **options: object) -> None:
        given.extend((name, options))
        raise WeightsError("seen enough")

    monkeypatch.setattr("detection.detector.Detector.load", load)
    clip(Path("clip.mp4"), frames=1)
    flags = ["--weights", "mine", "--runtime", "onnxruntime", "--device", "cuda", "--precision", "bf16", "--size=160"]
    assert cli.main([*inputs, *flags]) == 2
    choice = {"runtime": "onnxruntime", "device": "cuda", "precision": "bf16", "size": 160}
    assert given == ["mine", {**choice, "mode": mode}]


@pytest.mark.slow
def test_the_first_line_waits_for_no_import_that_it_does_not_need(photos: Path) -> None:
    """Neither supervision nor torch, a second each, nor the decoder of videos, nor what draws bars and tables."""
    code = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from detection import detector
from detection.commands import detect as cli
from detection.pipeline import sinks

def load(*names, **options):
    from tests.support.rectangle_session import RectangleRuntime, make_card
    return detector.Detector(RectangleRuntime(), make_card())

plain = sinks.to_json_line

def line(*arguments, **options):
    print(*sorted({{"av", "rich", "supervision", "torch", "pydantic", "safetensors"}} & set(sys.modules)))
    return plain(*arguments, **options)

detector.Detector.load, sinks.to_json_line = load, line
sys.exit(cli.main(["photos/a.jpg", "--json", "found.jsonl"]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0] == ""


@pytest.mark.parametrize("form", ["yolo", "coco", "voc"])
def test_labels_are_a_dataset_of_what_was_found(form: str, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["photos", "--save-labels", form, "--labels", "set", "--json", "found.jsonl"]) == 0
    assert f"labels ({form}): 3 images in set" in capsys.readouterr().out
    dataset = open_dataset(form, "set", "train")
    assert not dataset.warnings
    by_size = {(line["width"], line["height"]): line for line in lines(Path("found.jsonl").read_text())}
    assert len(by_size) == 3
    for record in dataset.records:
        line = by_size[read_size(record.image)]
        assert [dataset.class_names[label] for label in record.labels] == [each["label"] for each in line["detections"]]
        boxes = [each["box"] for each in line["detections"]]
        np.testing.assert_allclose(record.boxes, np.reshape(boxes, (-1, 4)), atol=0.1)
    originals = sorted(path.read_bytes() for path in photos.rglob("*") if path.is_file())
    assert sorted(Path(record.image).read_bytes() for record in dataset.records) == originals


def test_labels_are_of_images_only_and_replace_nothing(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip(Path("clip.mp4"), frames=2)
    assert cli.main(["photos", "clip.mp4", "--save-labels", "yolo", "--labels", "set"]) == 2
    assert "--save-labels takes files of images only, not clip.mp4" in capsys.readouterr().err
    assert not Path("set").exists()
    assert cli.main(["photos", "--save-labels", "yolo", "--labels", "photos"]) == 2
    assert "photos is not empty" in capsys.readouterr().err


def test_an_image_that_fails_is_not_in_the_labels(photos: Path) -> None:
    Path("photos/b.jpg").write_bytes(b"no image")
    assert cli.main(["photos", "--save-labels", "coco", "--labels", "set"]) == 1
    names = [Path(record.image).name for record in open_dataset("coco", "set", "train").records]
    assert names == ["a.jpg", "a-2.png", "none.png"]
