"""Manifest: an output folder holds results of one model and one set of thresholds."""

from dataclasses import replace

import pytest

from data.errors import SettingsError
from detection.batch.batch_job import check_manifest
from detection.batch.output_folder import OutputFolder
from detection.batch.part_files import JSON_LINES
from detection.inference.options import DetectionOptions
from detection.tiling.tiling import Tiling

pytest.importorskip("pyarrow")


def test_a_run_goes_on_with_the_same_settings_only(output: OutputFolder, new_job) -> None:
    job = new_job(output.place, tiling=Tiling.parse("2"))
    check_manifest(job, output)
    check_manifest(replace(job, device="cuda", cores=8), output)
    for changes, key in (
        ({"sha256": "0" * 64}, "model_sha256"),
        ({"options": DetectionOptions(confidence=(0.5,) * 20)}, "confidence"),
        ({"options": replace(job.options, classes=[1])}, "classes"),
        ({"tiling": None}, "tiles"),
        ({"suffix": JSON_LINES}, "format"),
    ):
        with pytest.raises(SettingsError, match=f"holds results with {key}"):
            check_manifest(replace(job, **changes), output)


def test_a_folder_of_other_files_is_refused(output: OutputFolder, new_job) -> None:
    output.write("mine.parquet", b"")
    with pytest.raises(SettingsError, match=r"holds other \.parquet files"):
        check_manifest(new_job(output.place), output)


def test_a_damaged_manifest_is_an_error(output: OutputFolder, new_job) -> None:
    output.write("_pelee/manifest.json", b"{")
    with pytest.raises(SettingsError, match="damaged"):
        check_manifest(new_job(output.place), output)
