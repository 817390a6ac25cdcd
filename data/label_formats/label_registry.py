"""Registry of the annotation formats that can be written; imports no writer, so that `--help` stays instant."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from data.dotted_path import load_object

if TYPE_CHECKING:
    from data.label_formats.label_writer import LabelWriter

#: "module:class" of the writer by format, a subclass of `LabelWriter`.
LABEL_FORMATS = {
    "yolo": "data.label_formats.dataset_writers:YoloWriter",
    "coco": "data.label_formats.dataset_writers:CocoWriter",
    "voc": "data.label_formats.dataset_writers:VocWriter",
    "labelme": "data.label_formats.file_writers:LabelmeWriter",
    "csv": "data.label_formats.file_writers:CsvWriter",
}


def open_label_writer(format_name: str, folder: Path, class_names: Sequence[str], link: bool = False) -> "LabelWriter":
    """Return the writer of a format, a context manager that writes the dataset's files at its end.

    Args:
        format_name: a key of `LABEL_FORMATS`.
        folder: folder of the new dataset; it is made.
        class_names: class names by label.
        link: images are hard links where the file system has them, instead of copies.

    Raises:
        SettingsError: the folder holds files already, or is a file.
        OSError: it cannot be made or written to.
    """
    from data.label_formats.label_writer import prepare_label_folder

    prepare_label_folder(folder)
    writer: LabelWriter = load_object(LABEL_FORMATS[format_name])(folder, class_names, link)
    return writer
