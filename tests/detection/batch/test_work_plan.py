"""Plan: each source in one part, over several runs; parts of a size; sources of any name."""

import os

import pytest

from detection.batch.batch_inputs import PlanEntry
from detection.batch.output_folder import OutputFolder
from detection.batch.work_plan import PlanReader, WorkPlan

pytest.importorskip("pyarrow")


def images(*names: int) -> list[PlanEntry]:
    return [PlanEntry("image", f"/photos/{name}.jpg") for name in names]


def test_each_source_is_in_one_part(output: OutputFolder) -> None:
    assert WorkPlan(output).append(images(*range(100), *range(50)), 40, 1) == 100
    plan = WorkPlan(output)
    assert plan.append(images(*range(90, 110)), 40, 1) == 10
    assert plan.append(images(3), 40, 1) == 0
    parts = list(plan.parts())
    reader = PlanReader(output)
    sources = [entry for part in parts for entry in reader.entries(part.plan, part.group)]
    assert sorted(sources, key=lambda entry: entry.key) == sorted(images(*range(110)), key=lambda entry: entry.key)
    assert len({part.file_name(".parquet") for part in parts}) == len(parts)
    assert sum(part.images for part in parts) == 110


def test_few_images_are_divided_among_the_workers(output: OutputFolder) -> None:
    plan = WorkPlan(output)
    plan.append(images(*range(400)), 1000, 2)
    assert [part.images for part in plan.parts()] == [50] * 8


def test_a_shard_is_a_part_of_its_own(output: OutputFolder) -> None:
    plan = WorkPlan(output)
    entries = [*images(1, 2), PlanEntry("tar", "/a.tar", -1), *images(3), PlanEntry("parquet", "/a.parquet", 5000, 0)]
    plan.append(entries, 100, 1)
    assert [part.images for part in plan.parts()] == [2, -1, 1, 5000]


def test_a_name_that_is_no_utf8_survives(output: OutputFolder) -> None:
    name = os.fsdecode(b"/photos/\xff.jpg")
    plan = WorkPlan(output)
    plan.append([PlanEntry("image", name)], 10, 1)
    assert PlanReader(output).entries(0, 0) == [PlanEntry("image", name)]


def test_a_plan_that_is_gone_is_an_error(output: OutputFolder) -> None:
    with pytest.raises(FileNotFoundError, match="the plan is gone"):
        PlanReader(output).entries(0, 0)
