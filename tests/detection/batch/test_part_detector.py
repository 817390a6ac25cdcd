"""Worker of a batch, called without Ray: the boxes of `pelee-detect` to the bit, errors as rows, what ends a part."""

import io
import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest

from data.images.image_io import read_image
from detection.batch.batch_inputs import PlanEntry, find_entries
from detection.batch.output_folder import OutputFolder
from detection.batch.part_detector import DONE, ENDED, MISSED, PartDetector
from detection.batch.part_files import JSON_LINES
from detection.batch.work_plan import WorkPlan
from detection.commands.detect import main as detect
from detection.commands.options import parse_tiles
from detection.detector import Detector

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector.load(mode="throughput")


def process(job, *inputs: Path, run: PartDetector | None = None) -> dict:
    """Plan the inputs as one part and process it; return the report."""
    output = OutputFolder(job.output)
    output.create()
    plan = WorkPlan(output)
    plan.append(find_entries([str(item) for item in inputs], job.output, None, pytest.fail), 1000, 1)
    (part,) = plan.parts()
    report = (run or PartDetector(job))({"plan": [part.plan], "group": [part.group], "images": [part.images]})
    return {name: values[0] for name, values in report.items()}


def rows(job) -> dict[str, dict]:
    table = pq.read_table(job.output)
    return {row["source"]: row for row in table.to_pylist()}


def assert_same_boxes(row: dict, detector: Detector, image: np.ndarray) -> None:
    (expected,) = detector.predict_batch([image], detector.card.default_thresholds)
    found = row["detections"]
    assert len(found) == len(expected.labels) > 0
    boxes = np.array([[box[side] for side in ("x1", "y1", "x2", "y2")] for box in found], np.float32)
    assert np.array_equal(boxes, expected.boxes.astype(np.float32))
    assert np.array_equal(np.array([box["score"] for box in found], np.float32), expected.scores)
    assert [box["class_id"] for box in found] == expected.labels.tolist()
    assert [box["label"] for box in found] == [detector.class_names[label] for label in expected.labels]


@pytest.mark.slow
def test_files_shards_and_parquet_have_the_boxes_of_the_detector(tmp_path, photos: Path, new_job, detector) -> None:
    names = {"cat": photos / "cat.jpg", "astronaut": photos / "sub" / "astronaut.jpg"}
    with tarfile.open(tmp_path / "shard.tar", "w") as tar:
        for name, path in names.items():
            content = path.read_bytes()
            info = tarfile.TarInfo(f"{name}.jpg")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    pq.write_table(pa.table({"image": [path.read_bytes() for path in names.values()]}), tmp_path / "rows.parquet")
    for number, given in enumerate((photos, tmp_path / "shard.tar", tmp_path / "rows.parquet")):
        job = new_job(tmp_path / f"out{number}")
        report = process(job, given)
        assert report["outcome"] == DONE, report
        found = rows(job)
        assert report["images"] == len(found) == (4, 2, 2)[number]
        sources = {
            0: {name: str(path) for name, path in names.items()},
            1: {name: f"{tmp_path}/shard.tar/{name}.jpg" for name in names},
            2: {name: f"{tmp_path}/rows.parquet#{row}" for row, name in enumerate(names)},
        }[number]
        for name, path in names.items():
            row, image = found[sources[name]], read_image(path)
            assert (row["height"], row["width"]) == image.shape[:2] and row["error"] is None
            assert row["model"] == "pelee-voc" and row["model_sha256"] == detector.card.sha256
            assert row["runtime"] == detector.runtime.name
            assert_same_boxes(row, detector, image)


@pytest.mark.slow
def test_images_that_cannot_be_read_are_rows_with_their_error(tmp_path: Path, photos: Path, new_job) -> None:
    (photos / "gone.jpg").symlink_to(photos / "nothing")
    job = new_job(tmp_path / "out")
    report = process(job, photos)
    assert (report["outcome"], report["images"], report["failed"]) == (DONE, 5, 2)
    found = rows(job)
    bad = found[str(photos / "text.jpg")]
    assert (
        bad["error"].startswith("not an image; expected one of JPEG") and bad["detections"] == [] == bad["detections"]
    )
    assert found[str(photos / "gone.jpg")]["error"] == "No such file or directory"
    cut = found[str(photos / "cut.jpg")]
    assert cut["error"] is None and cut["warning"].startswith("the JPEG is cut off; ") and cut["width"] == 451


@pytest.mark.slow
def test_json_lines_are_those_of_pelee_detect(tmp_path: Path, photos: Path, new_job, capsys) -> None:
    job = new_job(tmp_path / "out", suffix=JSON_LINES, tiling=parse_tiles(_Tiles()))
    assert process(job, photos)["outcome"] == DONE
    (part,) = (tmp_path / "out").glob("part-*.jsonl")
    found = {row["source"]: row for row in map(json.loads, part.read_text().splitlines())}
    assert detect([str(photos), "--json", "-", "--tiles", "2"]) == 1
    expected = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(expected) == 3
    for line in expected:
        assert line.items() <= found[line["source"]].items()
    assert found[str(photos / "text.jpg")]["error"].startswith("not an image")


class _Tiles:
    tiles, tile_overlap = "2", None


def test_a_part_at_which_workers_die_is_given_up(tmp_path: Path, photos: Path, new_job) -> None:
    job = new_job(tmp_path / "out")
    output = OutputFolder(job.output)
    output.create()
    for _ in range(3):
        output.begin("part-00000-000000.parquet")
    report = process(job, photos)
    assert report["outcome"] == MISSED and "the worker died 3 times" in report["message"]
    assert output.names() == {"_pelee"}


@pytest.mark.slow
def test_a_shard_that_cannot_be_read_is_a_part_that_is_not_written(tmp_path: Path, new_job, detector) -> None:
    shard = tmp_path / "a.tar"
    shard.touch()
    job = new_job(tmp_path / "out")
    worker = PartDetector(job)
    worker._detector = detector
    output = OutputFolder(job.output)
    output.create()
    WorkPlan(output).append([PlanEntry("tar", str(tmp_path / "absent.tar"), -1)], 10, 1)
    report = worker({"plan": [0], "group": [0], "images": [-1]})
    assert report["outcome"] == [MISSED] and "absent.tar" in report["message"][0]
    assert output.names() == {"_pelee"}


@pytest.mark.slow
def test_a_full_disk_ends_the_run_and_the_next_goes_on(small_disk: Path, photos: Path, new_job, detector) -> None:
    job = new_job(small_disk / "out")
    worker = PartDetector(job)
    worker._detector = detector
    first = process(job, photos / "cat.jpg", run=worker)
    assert first["outcome"] == DONE
    output, plan = OutputFolder(job.output), WorkPlan(OutputFolder(job.output))
    plan.append([PlanEntry("image", str(path)) for path in photos.rglob("*.jpg")], 1000, 1)
    *_, part = plan.parts()
    batch = {"plan": [part.plan], "group": [part.group], "images": [part.images]}
    disk = os.statvfs(small_disk)
    filler = small_disk / "filler"  # leaves room for the record of the attempt, not for the part
    filler.write_bytes(bytes((disk.f_bavail - 1) * disk.f_frsize))
    report = worker(batch)
    assert report["outcome"] == [ENDED] and "free some space" in report["message"][0], report
    assert output.names() == {"_pelee", first["part"]} and list(rows(job)) == [str(photos / "cat.jpg")]
    filler.unlink()
    assert worker(batch)["outcome"] == [DONE]
    assert sorted(rows(job)) == sorted(map(str, photos.rglob("*.jpg")))


@pytest.mark.slow
def test_another_model_of_that_name_ends_the_run(tmp_path: Path, photos: Path, new_job) -> None:
    from dataclasses import replace

    report = process(replace(new_job(tmp_path / "out"), sha256="0" * 64), photos)
    assert report["outcome"] == ENDED and "another model of that name" in report["message"]
