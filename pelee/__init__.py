"""Pelee: networks and classification, and the entrance to all packages of this installation.

import pelee
detections = pelee.Detector.load("pelee-voc")("street.jpg")
"""

import importlib
import sys
from importlib.machinery import ModuleSpec, PathFinder
from os.path import abspath, dirname, join
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from detection.detector import Detector
    from pelee.classification.classifier import Classifier


__all__ = ["Classifier", "Detector"]
_PUBLIC = {"Detector": "detection.detector", "Classifier": "pelee.classification.classifier"}
_ROOT = dirname(dirname(abspath(__file__)))  # noqa: PTH100, PTH120 (pathlib costs 5 ms at every start)


class _SiblingFinder:
    """Meta path finder of the packages beside this one.

    They are found in the folder of this installation, before a file or folder of the same name in the folder of a
    script or the working directory: `data.py`, `data/`, `weights/`.
    """

    names = ("data", "weights", "detection", "serve")

    @classmethod
    def find_spec(cls, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        return PathFinder.find_spec(name, [_ROOT]) if name in cls.names else None


def _check_loaded_modules() -> None:
    """Raise `ImportError` if a module of the name of a sibling was imported from another folder before."""
    for name in ("data", "weights", "detection"):
        if name not in sys.modules:
            continue
        module = sys.modules[name]
        paths = [*getattr(module, "__path__", ())]
        if [abspath(path) for path in paths] != [join(_ROOT, name)]:  # noqa: PTH100, PTH118
            place = getattr(module, "__file__", None) or next(iter(paths), "an unknown place")
            raise ImportError(
                f"the module {name!r} of {place} was imported before, and Pelee has a package of that name; rename it"
            )


_check_loaded_modules()
sys.meta_path.insert(0, _SiblingFinder)


def __getattr__(name: str) -> object:
    """Import `Detector` and `Classifier` at their first use; `--help` of the commands needs neither."""
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
