"""Worker of a batch, an actor of Ray Data: detects in the images of a part, and writes the part."""

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any

import numpy as np

from data.errors import ImageError, PeleeError, SettingsError, WeightsError
from data.images.image_io import read_image
from data.images.prefetch import prefetch
from detection.batch.batch_inputs import PlanEntry
from detection.batch.batch_job import BatchJob
from detection.batch.core_slots import claim_cores
from detection.batch.file_systems import is_remote
from detection.batch.image_stream import EncodedImage, fetch, stream_images
from detection.batch.output_folder import OutputFolder
from detection.batch.part_files import ImageRow, ModelFacts, open_part
from detection.batch.work_plan import PlannedPart, PlanReader
from detection.detector import DetectionFuture, Detector
from detection.pipeline.file_pipeline import READERS, WAITING
from detection.pipeline.stages import Done, Pending, Stages
from detection.tiling.tiled_batch import TiledBatch

FETCHERS = 16  # threads that read images from a network: each waits most of the time
MOST_ATTEMPTS = 3  # at a part during which the worker dies
RUN_ENDING = frozenset({errno.ENOSPC, errno.EDQUOT})  # each further part fails, too

#: Outcome of a part: written, not written (the next run tries it again), or the reason to end the run.
DONE, MISSED, ENDED = "done", "missed", "ended"


class PartDetector:
    """Callable for `ray.data.Dataset.map_batches`: planned parts in, one report for each out.

    Images are read here, and do not go through Ray's object store. The detector is loaded at the first part.
    """

    def __init__(self, job: BatchJob) -> None:
        """Take the settings."""
        self._job = job
        self._output = OutputFolder(job.output)
        self._plans = PlanReader(self._output)
        self._detector: Detector | None = None

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list[Any]]:
        """Process parts: columns `plan`, `group` and `images` -> `part`, `outcome`, `message`, `images`, `failed`,
        `pid` (of the worker)."""
        reports = [
            self._report(PlannedPart(int(plan), int(group), int(images)))
            for plan, group, images in zip(batch["plan"], batch["group"], batch["images"], strict=True)
        ]
        return {name: [report[name] for report in reports] for name in reports[0]}

    def _report(self, part: PlannedPart) -> dict[str, Any]:
        name = part.file_name(self._job.suffix)
        report = {"part": name, "outcome": DONE, "message": "", "images": 0, "failed": 0, "pid": os.getpid()}
        try:
            attempt = self._output.begin(name)
            if attempt > MOST_ATTEMPTS:
                self._output.end(name)
                reason = f"the worker died {MOST_ATTEMPTS} times (killed, out of memory, or an image crashes a decoder)"
                return report | {"outcome": MISSED, "message": f"{name}: not written: {reason}"}
            if self._detector is None:
                self._detector = open_detector(self._job)
            images, failed = self._write(part, name, self._detector)
            self._output.end(name)
            return report | {"images": images, "failed": failed}
        except (SettingsError, WeightsError) as error:  # the model
            return report | {"outcome": ENDED, "message": str(error)}
        except OSError as error:
            where = f": {error.filename}" if error.filename else ""
            message = f"{name}: not written: {error.strerror or error}{where}"
            if error.errno in RUN_ENDING:
                message += "; free some space and run the command again: it goes on with this part"
            return report | {"outcome": ENDED if error.errno in RUN_ENDING else MISSED, "message": message}
        except PeleeError as error:
            return report | {"outcome": MISSED, "message": f"{name}: not written: {error}"}

    def _write(self, part: PlannedPart, name: str, detector: Detector) -> tuple[int, int]:
        """Write a part; return its number of images, and of those that could not be read."""
        card = detector.card
        facts = ModelFacts(card.name, self._job.sha256, detector.runtime.name, detector.class_names)
        file = open_part(self._job.suffix, facts)
        images = failed = 0
        for row in detect_images(detector, self._job, self._plans.entries(part.plan, part.group)):
            file.add(row)
            images += 1
            failed += row.error is not None
        self._output.write(name, file.finish())
        return images, failed


def open_detector(job: BatchJob) -> Detector:
    """Load the detector of a job, on cores of its own.

    Raises:
        WeightsError: this machine has other weights under that name, or none.
        SettingsError: an unavailable runtime, device or precision.
    """
    import cv2

    claim_cores(job.cores)
    cv2.setNumThreads(1)
    detector = Detector.load(
        job.weights,
        runtime=job.runtime,
        device=job.device,
        precision=job.precision,
        size=job.input_size,
        mode="throughput",
    )
    if detector.card.sha256 != job.sha256:
        raise WeightsError(
            f"{job.weights}: SHA-256 is {detector.card.sha256[:12]}, expected {job.sha256[:12]}: a worker's machine "
            "has another model of that name; install the same one on all"
        )
    return detector


def detect_images(detector: Detector, job: BatchJob, entries: Sequence[PlanEntry]) -> Iterator[ImageRow]:
    """Yield the result of each image of the entries, in order: decoding, network and post-processing overlap."""
    images = stream_images(entries)
    with ExitStack() as stack:
        stack.enter_context(closing(images))  # type: ignore[type-var]
        if any(entry.kind == "image" and is_remote(entry.source) for entry in entries):
            images = stack.enter_context(closing(_fetched(images)))  # type: ignore[type-var]
        stages = stack.enter_context(Stages())  # ends before the others are closed
        decoded = prefetch(images, _decode, workers=READERS, ahead=WAITING)
        depth = detector.runtime.parallel + WAITING
        yield from stages.ahead(decoded, _starter(detector, job), depth, "decode")


def _fetched(images: Iterator[EncodedImage]) -> Iterator[EncodedImage]:
    """Yield images with their bytes, read ahead from the network."""
    with closing(prefetch(images, fetch, workers=FETCHERS, ahead=2 * FETCHERS)) as fetched:  # type: ignore[type-var]
        for image, result in fetched:
            yield EncodedImage(image.name, result) if isinstance(result, ImageError) else result


def _decode(image: EncodedImage) -> tuple[np.ndarray, str | None]:
    """Return (H, W, 3) uint8 RGB and a warning, or None; as `pelee-detect` a JPEG that is cut off is used."""
    if isinstance(image.content, ImageError):
        raise image.content
    warnings: list[str] = []
    rgb = read_image(image.content, on_damage=warnings.append)
    return rgb, _without(image.label, warnings[0]) if warnings else None


Decoded = tuple[EncodedImage, tuple[np.ndarray, str | None] | ImageError]


def _starter(detector: Detector, job: BatchJob) -> Callable[[Decoded], Pending[ImageRow]]:
    """Function that submits a decoded image to the network."""

    def start(item: Decoded) -> Pending[ImageRow]:
        image, result = item
        if isinstance(result, ImageError):
            reason = _without(image.name, _without(image.label, str(result)))
            return Done(ImageRow(image.name, error=reason))
        rgb, warning = result
        height, width = rgb.shape[:2]
        tiles = None
        if job.tiling is not None:
            try:
                tiles = [job.tiling.tiles(width, height, detector.input_size)]
            except SettingsError as error:  # the image is too small for the grid
                return Done(ImageRow(image.name, width, height, error=str(error)))
        future = detector.submit([rgb], job.options, tiles)
        return _PendingRow(image.name, width, height, warning, future)

    return start


@dataclass(frozen=True, slots=True)
class _PendingRow:
    """Row whose image is in the network."""

    name: str
    width: int
    height: int
    warning: str | None
    future: DetectionFuture | TiledBatch

    def result(self) -> ImageRow:
        (prediction,) = self.future.result()
        return ImageRow(self.name, self.width, self.height, prediction, None, self.warning)


def _without(label: str, message: str) -> str:
    """Return a message without the name of the image, which the row has."""
    return message.removeprefix(f"{label}: ")
