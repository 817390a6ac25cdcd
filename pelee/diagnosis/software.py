"""Versions of Pelee, Python and packages; environment, models, cache; devices of OpenVINO. Imports OpenVINO only."""

import importlib.util
import os
import platform
import re
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

# Modules that import OpenCV or OpenVINO are imported in their checks: where one is broken, the others still report.

DISTRIBUTION = "pelee"
# OpenCV and ONNX Runtime come in builds of several names; two of one kind overwrite each other's files.
BUILDS = (
    *("opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless"),
    *("onnxruntime-gpu", "onnxruntime-openvino"),
)
# Of these only that they are set: the service's keys, and variables of a user's watch.yaml that are named alike.
SECRET_NAME = re.compile(r"KEY|PASS|PWD|SECRET|TOKEN|CREDENTIAL|AUTH")
SECRET_VALUE = re.compile(r"://[^/\s]*@")  # user and password in an address
VARIABLES = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "CUDA_VISIBLE_DEVICES", "LD_PRELOAD", "QT_QPA_PLATFORM", "LANG")


def pelee() -> tuple[str, dict[str, Any]]:
    """Return version and folder of this package."""
    version, folder = version_of(DISTRIBUTION), str(Path(__file__).parents[2])
    return f"{version or 'not installed'}, in {folder}", {"version": version, "folder": folder}


def python() -> tuple[str, dict[str, Any]]:
    """Return interpreter and operating system."""
    version, implementation = platform.python_version(), platform.python_implementation()
    system = platform.platform()
    details = {"version": version, "implementation": implementation, "executable": sys.executable, "system": system}
    return f"{implementation} {version}, {sys.executable}, {system}", details


def packages() -> tuple[str, dict[str, Any]]:
    """Return the versions of the packages that every installation has."""
    found = {name: version_of(name) for name in requirements(optional=False)}
    return _versions(found), {"versions": found}


def optional_packages() -> tuple[str, dict[str, Any]]:
    """Return the versions of the packages of the extras; None for what is not installed."""
    found = {name: version_of(name) for name in sorted({*requirements(optional=True), *BUILDS})}
    missing = [name for name, version in found.items() if version is None and name not in BUILDS]
    there = {name: version for name, version in found.items() if version is not None}
    text = _versions(there) if there else "none"
    return text + (f"; not installed: {' '.join(missing)}" if missing else ""), {"versions": found}


def environment() -> tuple[str, dict[str, Any]]:
    """Return the environment variables that change how Pelee runs; of secrets only that they are set."""
    names = sorted({*VARIABLES, *(name for name in os.environ if name.startswith("PELEE_"))} & set(os.environ))
    values = {name: os.environ[name] for name in names}
    found = {
        name: "(set)" if SECRET_NAME.search(name) or SECRET_VALUE.search(value) else value
        for name, value in values.items()
    }
    return " ".join(f"{name}={value}" for name, value in found.items()) or "nothing set", {"variables": found}


def models() -> tuple[str, dict[str, Any]]:
    """Return the shipped models, the installed ones, and the folder of the latter."""
    from weights import model_folders

    shipped, installed = model_folders.shipped(), model_folders.installed()
    folder = model_folders.installed_folder()
    text = f"shipped: {', '.join(shipped) or 'none'}; installed in {folder}: {', '.join(installed) or 'none'}"
    return text, {"shipped": shipped, "installed": installed, "folder": str(folder)}


def cache() -> tuple[str, dict[str, Any]]:
    """Return folder, entries and size in bytes of the cache of compiled models, and whether it can be written."""
    from pelee.runtime.openvino_cache import cache_folder

    folder = cache_folder()
    sizes = [path.stat().st_size for path in folder.glob("*.blob")]
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    writable = os.access(existing, os.W_OK)
    text = f"{folder}: {len(sizes)} models, {sum(sizes) / 1e6:.0f} MB{'' if writable else '; not writable'}"
    return text, {"folder": str(folder), "entries": len(sizes), "bytes": sum(sizes), "writable": writable}


def openvino_devices() -> tuple[str, dict[str, Any]]:
    """Return the devices of OpenVINO with their names and the precisions that they are built for."""
    if importlib.util.find_spec("openvino") is None:
        return "not installed", {"devices": None}
    from pelee.runtime.openvino_session import open_core

    core = open_core()
    found = {
        device: {
            "name": core.get_property(device, "FULL_DEVICE_NAME").strip(),
            "capabilities": list(core.get_property(device, "OPTIMIZATION_CAPABILITIES")),
        }
        for device in core.available_devices
    }
    words = [f"{device} ({facts['name']}: {' '.join(facts['capabilities'])})" for device, facts in found.items()]
    return ", ".join(words) or "no device", {"devices": found}


def requirements(*, optional: bool) -> list[str]:
    """Return the names of the packages that Pelee always needs, or those of its extras, without the tools of `dev`."""
    found = []
    for line in _metadata_requirements():
        name, extra = re.split(r"[^\w.-]", line, maxsplit=1)[0], re.search(r"extra == ['\"](\w+)['\"]", line)
        tool = extra is not None and extra[1] in ("dev", "docs", "all")
        if name != DISTRIBUTION and not tool and (extra is not None) == optional:
            found.append(name)
    return sorted(set(found))


def version_of(name: str) -> str | None:
    """Return the version of an installed package, without importing it; None if it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _metadata_requirements() -> list[str]:
    try:
        return metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return []


def _versions(found: Mapping[str, str | None]) -> str:
    return " ".join(f"{name} {version or '(not installed)'}," for name, version in found.items()).rstrip(",")
