"""Addresses: names without keys, and files of a real S3 server (moto)."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from data.errors import ImageError
from detection.batch.batch_inputs import find_entries
from detection.batch.file_systems import is_remote, list_remote, public_name, read_bytes
from detection.batch.output_folder import OutputFolder
from detection.batch.part_detector import DONE, PartDetector
from detection.batch.work_plan import WorkPlan

pytest.importorskip("pyarrow")


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("/photos/a?b.jpg", "/photos/a?b.jpg"),
        ("s3://key:secret@bucket/a.jpg", "s3://bucket/a.jpg"),
        ("https://host/photo.php?id=3&X-Amz-Signature=abc", "https://host/photo.php?id=3"),
    ],
)
def test_a_name_has_no_keys(source: str, name: str) -> None:
    assert public_name(source) == name


def test_a_path_is_no_address() -> None:
    assert not is_remote("C:/photos") and not is_remote("/a://b") and is_remote("gs://bucket/a")


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """Address of an empty bucket of an S3 server on this machine."""
    moto = pytest.importorskip("moto.server")
    boto3 = pytest.importorskip("boto3")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    settings = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
    }
    before = {key: os.environ.get(key) for key in settings}
    os.environ.update(settings)
    boto3.client("s3").create_bucket(Bucket="archive")
    yield "s3://archive"
    server.stop()
    for key, value in before.items():
        if value is None:
            del os.environ[key]
        else:
            os.environ[key] = value


@pytest.mark.slow
def test_an_archive_at_s3_is_read_and_its_results_are_written_there(bucket, photos: Path, new_job) -> None:
    import boto3

    client = boto3.client("s3")
    for path in photos.rglob("*.jpg"):
        client.upload_file(str(path), "archive", f"photos/{path.relative_to(photos)}")
    assert len(list(list_remote(f"{bucket}/photos"))) == 4
    assert list(list_remote(f"{bucket}/photos/c*.jpg")) == [f"{bucket}/photos/cat.jpg", f"{bucket}/photos/cut.jpg"]
    with pytest.raises(OSError, match="no such file"):
        list(list_remote(f"{bucket}/absent"))
    assert read_bytes(f"{bucket}/photos/cat.jpg") == (photos / "cat.jpg").read_bytes()
    with pytest.raises(ImageError, match=r"absent\.jpg"):
        read_bytes(f"{bucket}/photos/absent.jpg")

    output = OutputFolder(f"{bucket}/found")
    output.create()
    problems: list[str] = []
    plan = WorkPlan(output)
    plan.append(find_entries([f"{bucket}/photos", f"{bucket}/none"], output.place, None, problems.append), 10, 1)
    assert len(problems) == 1 and "none" in problems[0]
    (part,) = plan.parts()
    report = PartDetector(new_job(output.place))({"plan": [part.plan], "group": [part.group], "images": [4]})
    assert (report["outcome"], report["images"], report["failed"]) == ([DONE], [4], [1])
    import pyarrow.parquet as pq
    from pyarrow.fs import FileSystem

    system, path = FileSystem.from_uri(f"{bucket}/found/{part.file_name('.parquet')}")
    rows = pq.read_table(path, filesystem=system).to_pylist()
    assert {row["source"] for row in rows} == {
        f"{bucket}/photos/{p.relative_to(photos)}" for p in photos.rglob("*.jpg")
    }
    assert {detection["label"] for row in rows for detection in row["detections"]} >= {"cat", "person"}
    assert output.names() >= {part.file_name(".parquet")} and not WorkPlan(output).append(iter([]), 10, 1)
