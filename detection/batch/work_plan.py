"""Plan of a batch: the sources of each part, in `_pelee/plan-00000.parquet`, one row group for each part.

A run appends a plan of the sources that no earlier plan has. A part is done where its file exists, so a run does the
parts that are missing, and each source is in one part.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass, fields
from hashlib import blake2b
from io import BytesIO
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from detection.batch.batch_inputs import PlanEntry
from detection.batch.output_folder import OWN, OutputFolder

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

PARTS_PER_WORKER = 4  # of a small input, so that no worker is idle for long
SMALLEST_PART = 16  # images


@dataclass(frozen=True, slots=True)
class PlannedPart:
    """Part of the output: row group `group` of the plan file number `plan`; `images` is -1 where it is not known."""

    plan: int
    group: int
    images: int

    def file_name(self, suffix: str) -> str:
        """Name of the part's file."""
        return f"part-{self.plan:05}-{self.group:06}{suffix}"


class WorkPlan:
    """Plan files of an output folder."""

    def __init__(self, output: OutputFolder) -> None:
        """Take the folder."""
        self._output = output
        self._numbers = sorted(
            int(name[5:10]) for name in output.names(OWN) if name.startswith("plan-") and name.endswith(".parquet")
        )

    def append(self, entries: Iterable[PlanEntry], images_per_part: int, workers: int) -> int:
        """Write a plan of the entries that no plan has yet; return their number.

        Args:
            entries: sources of images.
            images_per_part: largest number of images of a part; a tar shard or a row group stays whole.
            workers: number of workers; few images are divided into parts for all of them.
        """
        import pyarrow as pa
        from pyarrow.parquet import ParquetWriter

        new = self._new(entries)
        first = list(islice(new, images_per_part * workers * PARTS_PER_WORKER))
        if not first:
            return 0
        if len(first) < images_per_part * workers * PARTS_PER_WORKER:
            share = -(-len(first) // (workers * PARTS_PER_WORKER))
            images_per_part = min(images_per_part, max(SMALLEST_PART, share))
        content, count = BytesIO(), 0
        schema = _schema()
        with ParquetWriter(content, schema, compression="zstd") as writer:
            for group in _parts(chain(first, new), images_per_part):
                columns = zip(*map(_values, group), strict=True)
                arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
                writer.write_table(pa.table(arrays, schema=schema))
                count += len(group)
        number = self._numbers[-1] + 1 if self._numbers else 0
        self._output.write(_plan_name(number), content.getvalue())
        self._numbers.append(number)
        return count

    def parts(self) -> Iterator[PlannedPart]:
        """Yield the parts of all plans."""
        for number in self._numbers:
            file = _open(self._output, number)
            for group in range(file.num_row_groups):
                images = file.read_row_group(group, columns=["images"]).column(0).to_pylist()
                yield PlannedPart(number, group, -1 if -1 in images else sum(images))

    def _new(self, entries: Iterable[PlanEntry]) -> Iterator[PlanEntry]:
        """Yield the entries that no plan has, each once."""
        known: set[bytes] = set()
        for number in self._numbers:
            file = _open(self._output, number)
            for group in range(file.num_row_groups):
                known.update(map(_digest, _entries(file, group)))
        for entry in entries:
            digest = _digest(entry)
            if digest not in known:
                known.add(digest)
                yield entry


class PlanReader:
    """Reader of a plan's parts in a worker; it keeps the last plan that it read."""

    def __init__(self, output: OutputFolder) -> None:
        """Take the folder of the plans."""
        self._output = output
        self._number = -1
        self._file: ParquetFile | None = None

    def entries(self, plan: int, group: int) -> list[PlanEntry]:
        """Return the sources of a part."""
        if self._file is None or plan != self._number:
            self._file, self._number = _open(self._output, plan), plan
        return list(_entries(self._file, group))


def _plan_name(number: int) -> str:
    return f"{OWN}/plan-{number:05}.parquet"


def _schema() -> Any:
    import pyarrow as pa

    kinds = {str: pa.binary(), int: pa.int64()}  # a file name may be no UTF-8
    return pa.schema([(field.name, kinds[field.type]) for field in fields(PlanEntry)])  # type: ignore[index]


def _open(output: OutputFolder, number: int) -> "ParquetFile":
    from pyarrow.parquet import ParquetFile

    content = output.read(_plan_name(number))
    if content is None:
        raise FileNotFoundError(2, "the plan is gone; choose another --output", f"{output}/{_plan_name(number)}")
    return ParquetFile(BytesIO(content))


def _entries(file: "ParquetFile", group: int) -> Iterator[PlanEntry]:
    columns = file.read_row_group(group).to_pydict()
    for values in zip(*columns.values(), strict=True):
        decoded: list[Any] = [os.fsdecode(value) if isinstance(value, bytes) else value for value in values]
        yield PlanEntry(*decoded)


def _values(entry: PlanEntry) -> tuple[bytes | int, ...]:
    return tuple(os.fsencode(value) if isinstance(value, str) else value for value in astuple(entry))


def _digest(entry: PlanEntry) -> bytes:
    return blake2b(os.fsencode(entry.key), digest_size=16).digest()


def _parts(entries: Iterable[PlanEntry], limit: int) -> Iterator[list[PlanEntry]]:
    """Group entries into parts of at most `limit` images; sources of an unknown number are alone."""
    group: list[PlanEntry] = []
    images = 0
    for entry in entries:
        alone = entry.images < 0 or entry.images >= limit
        if group and (alone or images + entry.images > limit):
            yield group
            group, images = [], 0
        group.append(entry)
        images += entry.images
        if alone:
            yield group
            group, images = [], 0
    if group:
        yield group
