"""Costs of `pelee-batch` per image, the constants of docs/scale.md: `python -m tests.acceptance.batch_costs PHOTOS`.

One worker, in this process, on one core: CPU seconds, which other programs on the machine change by up to a third.
Beside them the CPU seconds of decoding H.264 in full HD, from a clip of our own encoder.
"""

import argparse
import os
import resource
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from data.command_line import run
from data.errors import SettingsError
from data.images.image_io import read_image
from detection.batch.batch_inputs import find_entries
from detection.batch.batch_job import BatchJob
from detection.batch.output_folder import OutputFolder
from detection.batch.part_detector import PartDetector
from detection.batch.work_plan import WorkPlan
from detection.commands.batch import IMAGES_PER_PART
from detection.inference.options import DetectionOptions
from tests.acceptance.watch_load import RATE, film
from tests.support.paths import ROOT
from weights.store import resolve

SECONDS = 20.0  # of the clip
LISTED = 20_000  # links whose listing and plan are measured


def cpu() -> float:
    """CPU seconds of this process so far, in all threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def bytes_of(files: Sequence[Path]) -> int:
    """Size of all files."""
    return sum(file.stat().st_size for file in files)


def detections_of(output: Path) -> int:
    """Number of detections in all parts."""
    import pyarrow.compute as pc
    from pyarrow.parquet import read_table

    return int(pc.sum(pc.list_value_length(read_table(output, columns=["detections"])["detections"])).as_py())


def decoding_of_video(path: Path) -> float:
    """CPU seconds of a frame's decoding, in one thread, without conversion to RGB."""
    import av

    with av.open(str(path)) as container:
        container.streams.video[0].thread_count = 1
        begin = cpu()
        count = sum(1 for _ in container.decode(video=0))
    return (cpu() - begin) / count


def links(folder: Path, files: Sequence[Path], count: int) -> Path:
    """Make a folder of links to the files, in turn."""
    folder.mkdir()
    for index in range(count):
        (folder / f"{index:06}.jpg").symlink_to(files[index % len(files)].absolute())
    return folder


def planned(source: Path, output: Path) -> tuple[WorkPlan, float]:
    """List a folder and write its plan; return it, and the CPU seconds."""
    begin = cpu()
    folder = OutputFolder(str(output))
    folder.create()
    plan = WorkPlan(folder)
    plan.append(find_entries([str(source)], str(output), None, print), IMAGES_PER_PART, 1)
    return plan, cpu() - begin


def measure(photos: Path, limit: int, model: str) -> list[tuple[str, str]]:
    """Return name and value of each constant."""
    files = sorted(photos.rglob("*.jpg"))[:limit]
    if not files:
        raise SettingsError(f"{photos}: holds no .jpg files; expected a folder of photos")
    with tempfile.TemporaryDirectory() as name:
        output = Path(name) / "out"
        card = resolve(model).card
        options = DetectionOptions(confidence=card.default_thresholds)
        job = BatchJob(output=str(output), weights=model, model=model, sha256=card.sha256, options=options, cores=1)
        plan, _ = planned(links(Path(name) / "in", files, len(files)), output)  # imports pyarrow, too
        _, planning = planned(links(Path(name) / "many", files, LISTED), Path(name) / "many-out")
        worker, parts = PartDetector(job), list(plan.parts())
        batches = [{"plan": [one.plan], "group": [one.group], "images": [one.images]} for one in parts]
        worker(batches[0])  # loads the model
        (output / parts[0].file_name(".parquet")).unlink()
        begin = cpu()
        count = sum(int(worker(batch)["images"][0]) for batch in batches)
        whole = (cpu() - begin) / count
        begin = cpu()
        for file in files[:300]:
            read_image(file)
        decoding = (cpu() - begin) / min(300, len(files))
        clip = film(Path(name) / "clip.mp4", ROOT / "data" / "samples" / "bikes.mp4", SECONDS, still=False)
        return [
            ("images", f"{count:,}"),
            ("whole image", f"{1e3 * whole:.2f} core ms"),
            ("of it decoding of the JPEG", f"{1e3 * decoding:.2f} core ms"),
            ("bytes read", f"{bytes_of(files) / count / 1e3:.1f} kB"),
            ("bytes written", f"{bytes_of(list(output.glob('part-*'))) / count:.0f} B"),
            ("detections", f"{detections_of(output) / count:.1f}"),
            ("planning", f"{1e6 * planning / LISTED:.0f} core µs"),
            ("bytes of the plan", f"{bytes_of(list((output / '_pelee').glob('plan-*'))) / count:.1f} B"),
            (f"frame of H.264, 1920 × 1080 at {RATE}/s", f"{1e3 * decoding_of_video(clip):.2f} core ms"),
        ]


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.acceptance.batch_costs", description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--limit", type=int, default=2000, help="images, at most")
    parser.add_argument("--model", default="pelee-voc")
    args = parser.parse_args(argv)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

    def table() -> int:
        print("| constant | per image |\n| --- | ---: |")
        for name, value in measure(args.photos, args.limit, args.model):
            print(f"| {name} | {value} |")
        return 0

    return run(table)


if __name__ == "__main__":
    sys.exit(main())
