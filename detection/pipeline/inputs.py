"""Inputs of a command line (images, folders, patterns, videos, live sources), and the paths of their outputs."""

import glob
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from data.atomic_files import is_special_file
from data.errors import ImageError, SettingsError
from data.images.folder_walk import NO_FILE, walk_files
from data.images.image_io import IMAGE_SUFFIXES
from detection.video.source_names import STDIN, VIDEO_SUFFIXES, display_name, is_address, is_live, local_path

NAME_BYTES = 255  # longest name of a file
FRAME_BYTES = 12  # what a snapshot appends to a video's name

#: Suffixes of the files that are taken from a folder or a pattern. HEIC is none that can be read, and is reported.
KNOWN_SUFFIXES = IMAGE_SUFFIXES | VIDEO_SUFFIXES | {".heic", ".heif"}


@dataclass(frozen=True, slots=True)
class InputSource:
    """One input: an image, a video file, a live source, or stdin.

    Attributes:
        source: a path, an address, a camera, the test pattern, or - for images on stdin.
        video: whether it has several frames; False for an image.
        given: the command line's argument that named it.
        target: path of its annotated copy, relative to the output folder.
    """

    source: str
    video: bool
    given: str
    target: Path

    @property
    def name(self) -> str:
        """Name in results: an address without its password."""
        return display_name(self.source)

    @property
    def live(self) -> bool:
        """Whether it is a live source: a camera, a stream, the test pattern."""
        return self.video and is_live(self.source)

    @property
    def moving(self) -> bool:
        """Whether it is one video: a file or a live source, not an image and not images on stdin."""
        return self.video and self.source != STDIN


def collect(inputs: Sequence[str], videos: Sequence[str], output: Path | None) -> tuple[list[InputSource], list[str]]:
    """Return the inputs, each once, and one line for each argument that names none.

    An entry of `videos` may also be a live source, and a file there is a video whatever its suffix.

    The output folder inside a folder is skipped: it holds annotated copies of earlier runs. An image of a folder keeps
    its subfolder in `target`, and equal targets get a number. So does the recording of a live source if the output
    folder has one of that name: it cannot be made again.
    """
    items: dict[str, InputSource] = {}
    problems: list[str] = []
    for given, as_video in [*((given, False) for given in inputs), *((given, True) for given in videos)]:
        try:
            for item in _items(given, output, as_video, problems):
                remote = item.live or item.source == STDIN or is_address(item.source)
                items.setdefault(item.source if remote else os.path.realpath(item.source), item)
        except ImageError as error:
            problems.append(str(error))
        except OSError as error:  # a forbidden or over-long path
            problems.append(f"{display_name(given)}: {error.strerror or error}")
    return _unique_targets(list(items.values()), output), problems


def check_targets(items: Sequence[InputSource], output: Path | None, json: str | None = None) -> frozenset[str]:
    """Check that no output replaces an input or another output.

    Args:
        items: the inputs, with their targets.
        output: folder of the annotated copies; None for none.
        json: file of JSON Lines; None for none.

    Returns:
        `identities` of all inputs and copies, which outputs with names of their own (snapshots) avoid.

    Raises:
        SettingsError: `output` is no folder, or an output would replace an input or another output.
    """
    if output is not None and output.exists() and not output.is_dir():
        raise SettingsError(f"--output {output} is a file; name a folder")
    if output is None and json is None:
        return frozenset()
    taken = {identity for item in items for identity in identities(item.source)}
    if output is not None:
        for item in items:
            if not taken.isdisjoint(identities(output / item.target)):
                raise SettingsError(f"--output {output} would overwrite {output / item.target}; name another folder")
        taken.update(os.path.realpath(output / item.target) for item in items)
    if json is not None and not taken.isdisjoint(identities(json)) and not is_special_file(json):
        raise SettingsError(f"--json {json} is an input, or an annotated copy; name another file")
    return frozenset(taken)


def identities(path: Path | str) -> set[str]:
    """Return what a path has in common with other names of its file: the real path, and of a file its device and inode.

    Where the file system ignores case, or normalizes Unicode (memory cards, macOS), IMG.JPG is also IMG.jpg, whose real
    path differs.
    """
    found = {os.path.realpath(path)}
    with suppress(OSError, ValueError):  # no such file; an address, a camera
        status = Path(path).stat()
        found.add(f"{status.st_dev}:{status.st_ino}")
    return found


def _items(given: str, output: Path | None, as_video: bool, problems: list[str]) -> list[InputSource]:
    """Return the inputs that one argument names; `ImageError` where there are none."""
    if given == STDIN:
        return [InputSource(given, True, given, Path("stdin-000000.jpg"))]
    given = local_path(given)
    if as_video and given.isdecimal() and not Path(given).exists():
        given = f"cam{given}"
    if as_video and (is_live(given) or is_address(given)):
        return [InputSource(given, True, display_name(given), _video_target(given))]
    if Path(given).exists():
        return _items_at(given, output, as_video, problems)
    # glob as the shell does it: absolute patterns too, which pathlib's refuses
    matches = sorted(glob.glob(given, recursive=True)) if glob.has_magic(given) else []  # noqa: PTH207
    known = [match for match in matches if Path(match).is_dir() or Path(match).suffix.lower() in KNOWN_SUFFIXES]
    special = [match for match in known if is_special_file(match)]  # each would block its reader
    problems.extend(f"{match}: {NO_FILE}" for match in special)
    items = [
        replace(item, given=given)
        for match in known
        if match not in special
        for item in _items_at(match, output, as_video, problems, empty_allowed=True)
    ]
    if not items and not special:
        camera = "; a camera or an address goes after --video" if is_live(given) or is_address(given) else ""
        kind = "nothing matches" if glob.has_magic(given) else "no such file or folder"
        raise ImageError(f"{display_name(given)}: {kind}{camera}")
    return items


def _items_at(
    path: str, output: Path | None, as_video: bool, problems: list[str], empty_allowed: bool = False
) -> list[InputSource]:
    """Return the inputs at a path that exists; faults inside a folder become `problems`."""
    from detection.video.open_source import is_video, is_video_of_folder

    if not Path(path).is_dir():
        suffix = Path(path).suffix.lower()
        if (as_video and suffix not in IMAGE_SUFFIXES) or (Path(path).is_file() and is_video(path)):
            return [InputSource(path, True, path, _video_target(path))]
        return [InputSource(path, False, path, Path(Path(path).stem + ".jpg"))]
    results = None if output is None else output.resolve()
    if results == Path(path).resolve():
        results = None  # everything would be skipped; `check_targets` reports it
    found = sorted(walk_files(Path(path), KNOWN_SUFFIXES, lambda error: problems.append(str(error))))
    files = [file for file in found if results is None or not file.resolve().is_relative_to(results)]
    if not files and not found and not problems and not empty_allowed:
        raise ImageError(f"{path}: no images and no videos; looked for {' '.join(sorted(KNOWN_SUFFIXES))}")
    items = []
    for file in files:
        if is_video_of_folder(file):
            items.append(InputSource(str(file), True, path, file.relative_to(path).with_suffix(".mp4")))
        elif file.suffix.lower() not in VIDEO_SUFFIXES:
            items.append(InputSource(str(file), False, path, file.relative_to(path).with_suffix(".jpg")))
    return items


def _video_target(source: str) -> Path:
    """Return the name of a video's annotated copy: clip.mp4 for clip.avi, host-path.mp4 for an address."""
    if is_address(source):
        return Path(re.sub(r"[^\w.-]+", "-", display_name(source).partition("://")[2]).strip("-") + ".mp4")
    if is_live(source):
        return Path(re.sub(r"[^\w.-]+", "-", source).strip("-") + ".mp4")
    return Path(Path(source).stem + ".mp4")


def _unique_targets(items: list[InputSource], output: Path | None) -> list[InputSource]:
    """Make targets unique, ignoring case: name.jpg, name-2.jpg, name-3.jpg; and no longer than a file name may be."""
    taken: set[str] = set()
    numbers: dict[str, int] = {}  # the last number of each name, so that many equal names cost linear time
    result = []
    for item in items:
        name = str(item.target).casefold()
        number = numbers.get(name, 0) + 1
        while True:
            target = _named(item.target, number, NAME_BYTES - (FRAME_BYTES if item.video else 0))
            exists = item.live and output is not None and (output / target).exists()
            if str(target).casefold() not in taken and not exists:
                break
            number += 1
        numbers[name] = number
        taken.add(str(target).casefold())
        result.append(replace(item, target=target))
    return result


def _named(target: Path, number: int, limit: int) -> Path:
    """Return the target with its number, from 2 on, and with its stem cut so that the name has up to `limit` bytes."""
    end = (f"-{number}" if number > 1 else "") + target.suffix
    stem = target.stem
    while len(os.fsencode(stem + end)) > limit:
        stem = stem[:-1]
    return target.with_name(stem + end)


def prepare_output(output: Path) -> None:
    """Make the output folder; `OSError` where it cannot be made or written to."""
    output.mkdir(parents=True, exist_ok=True)
    if not os.access(output, os.W_OK):
        raise PermissionError(13, "the output folder cannot be written to", str(output))
