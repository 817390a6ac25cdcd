"""Exporter: a torch graph to one of the formats, f32 or int8, verified before it replaces anything.

An export is a folder: the model's files, `card.json` (its source's) and `export.json` (`weights.export_manifest`).
"""

import contextlib
import importlib.metadata
import json
import logging
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from data.dotted_path import load_object
from data.errors import SettingsError, WeightsError
from data.images.image_slice import ImageFile
from pelee.export.calibration import Calibration
from pelee.export.graph import Graph
from pelee.models.layers import fuse_conv_bn
from pelee.runtime.backends import FORMATS, check_format
from weights.card import CARD_NAME, Card
from weights.export_manifest import EXPORT_NAME, SUFFIXES, Export, file_sha256
from weights.store import ModelFile

Verify = Callable[[ModelFile], dict[str, Any]]
"""Compares an export with its source and returns the report; raises `WeightsError` where it is another model."""


def export(
    source: ModelFile,
    graph: Graph,
    folder: Path | str,
    form: str,
    verify: Verify,
    calibration: Calibration | None = None,
) -> ModelFile:
    """Write an export's folder: written aside, verified, then renamed into the place of an older export.

    Args:
        source: the weights that `graph` was built from.
        graph: the graph to export.
        folder: output folder; it must not exist, be empty, or hold an export, which is replaced.
        form: one of `pelee.runtime.backends.FORMATS`.
        verify: the verification; its report goes into `export.json`.
        calibration: calibration images for int8; None for f32.

    Raises:
        SettingsError: an unknown format, int8 or NMS where a format has none, or a folder that holds something else.
        WeightsError: the verification failed; `folder` is unchanged.
    """
    folder = Path(folder).expanduser()
    check_request(folder, form, calibration is not None, graph.nms)
    size = source.card.input_size
    fuse_conv_bn(graph.module)
    folder.absolute().parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.absolute().parent))
    try:
        metadata = _metadata(source.card, graph)
        path = aside / f"model{SUFFIXES[form]}"
        with _quiet():
            load_object(FORMATS[form].writer)(path, graph, size, metadata, calibration)
        (aside / CARD_NAME).write_text(source.card.to_json(), encoding="utf-8")
        names = [path, *sorted(other for other in aside.iterdir() if other not in (path, aside / CARD_NAME))]
        made = Export(
            format=form,
            precision="int8" if calibration else "f32",
            nms=graph.nms,
            input_size=size,
            source_sha256=source.card.sha256,
            files={name.name: file_sha256(name) for name in names},
            versions=_versions(form, calibration is not None),
            settings=graph.settings | _calibration_settings(calibration),
        )
        made = replace(made, verification=verify(ModelFile(source.card, path, made)))
        (aside / EXPORT_NAME).write_text(made.to_json(), encoding="utf-8")
        _put(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return ModelFile(source.card, folder / path.name, made)


def check_source(source: ModelFile, task: str, images: Sequence[ImageFile]) -> None:
    """Raise unless `source` holds weights of a model for `task` and there are images to verify the export on."""
    if source.export is not None:
        raise SettingsError(f"{source.path.parent} is an export already, expected the weights to make one from")
    if source.card.task != task:
        raise WeightsError(f"{source.card.name}: a model for {source.card.task}, expected one for {task}")
    if not images:
        raise SettingsError("no images to verify the export on; give some with --images DIR")


def check_request(folder: Path, form: str, int8: bool, nms: bool = False) -> None:
    """Raise `SettingsError` for a request that cannot be met, before minutes of work."""
    check_format(form, int8=int8, nms=nms)
    if folder.is_file():
        raise SettingsError(f"{folder} is a file, expected a folder to write to")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / EXPORT_NAME).is_file():
        raise SettingsError(f"{folder} holds other files than an export; name a new folder")


def _put(aside: Path, folder: Path) -> None:
    """Rename a complete folder into its place; an older one stays there until then."""
    aside.chmod(0o755)  # mkdtemp makes private folders
    if not folder.exists():
        aside.rename(folder)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{folder.name}.old.", dir=folder.absolute().parent))
    folder.rename(old / folder.name)
    try:
        aside.rename(folder)
    except OSError:
        (old / folder.name).rename(folder)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _metadata(card: Card, graph: Graph) -> dict[str, str]:
    """Return the metadata that the model's own file contains, as plain strings."""
    return {
        "class_names": json.dumps(card.class_names, ensure_ascii=False),
        "nms": json.dumps(graph.nms),
        "card": json.dumps(json.loads(card.to_json()), ensure_ascii=False),
    }


def _versions(form: str, int8: bool) -> dict[str, str]:
    names = (*FORMATS[form].libraries, *(("nncf",) if int8 else ()))
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return {name: importlib.metadata.version(name) for name in ("pelee", *names)}
    return {name: importlib.metadata.version(name) for name in names}


def _calibration_settings(calibration: Calibration | None) -> dict[str, Any]:
    if calibration is None:
        return {}
    return {"calibration": {"source": calibration.source, "pictures": len(calibration.images)}}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporters' log messages and warnings; their errors are raised."""
    names = ("torch.onnx", "torch.utils.cpp_extension", "onnxscript", "onnx_ir", "nncf")
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
