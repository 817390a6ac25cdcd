"""Cache of compiled OpenVINO models in the user's cache folder; loading takes a quarter of the time of compiling.

An entry is `KEY.blob`: the SHA-256 of the blob, then the blob that OpenVINO exported. KEY is a hash of everything that
determines it: files, OpenVINO, machine, settings. Damaged and outdated entries are compiled again; without a writable
folder there is no cache.
"""

import contextlib
import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from data.atomic_files import atomic_path
from data.cpu_cores import usable_cores

ENTRIES = 8  # most recently used entries that are kept; about 7 MB each for int8, 22 for f32
DIGEST = hashlib.sha256().digest_size


def cache_folder() -> Path:
    """Cache folder of this user, by the conventions of the platform; `RuntimeError` without a home folder."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "pelee" / "openvino"


def compile_or_load(
    core: Any, path: Path, count: int, size: int, device: str, config: dict[str, str], key: dict[str, Any]
) -> Any:
    """Return the model at `path` compiled for `count` images of `size` pixels a side, from the cache if possible.

    Args:
        core: `openvino.Core`.
        path: the model file, verified.
        count, size, device, config: batch size, input side, device and properties of the compilation.
        key: plain values that identify the model and the version of OpenVINO.

    Raises:
        RuntimeError: OpenVINO cannot open or compile it.
    """
    # The code also depends on the processor's instructions and on the cores that this process may use.
    machine = [core.get_property(device, name) for name in ("FULL_DEVICE_NAME", "OPTIMIZATION_CAPABILITIES")]
    facts = json.dumps([key, count, size, device, config, machine, usable_cores()], sort_keys=True, default=str)
    try:
        entry = cache_folder() / f"{hashlib.sha256(facts.encode()).hexdigest()[:32]}.blob"
    except RuntimeError:  # no home folder
        return _compile(core, path, count, size, device, config)
    compiled = _load(core, entry, device, config)
    if compiled is None:
        compiled = _compile(core, path, count, size, device, config)
        with contextlib.suppress(OSError, RuntimeError):  # a device without model export
            blob = compiled.export_model().getvalue()
            with atomic_path(entry) as aside:
                aside.write_bytes(hashlib.sha256(blob).digest() + blob)
            _forget_old(entry.parent)
    return compiled


def _compile(core: Any, path: Path, count: int, size: int, device: str, config: dict[str, str]) -> Any:
    network = core.read_model(path)
    shape = network.inputs[0].partial_shape.to_string()
    if not shape.endswith(f",{size},{size},3]"):  # reshaping to another size would succeed and run another network
        raise RuntimeError(f"it takes images of {shape}, its export.json says {size} pixels")
    network.reshape([count, size, size, 3])
    return core.compile_model(network, device, config)


def _load(core: Any, entry: Path, device: str, config: dict[str, str]) -> Any:
    """Load an entry; None if it is missing, damaged or incompatible."""
    from openvino import Shape, Tensor, Type

    try:
        with entry.open("rb") as file:
            digest = file.read(DIGEST)
            blob = Tensor(Type.u8, Shape([max(entry.stat().st_size - DIGEST, 0)]))  # from bytes it would be copied
            file.readinto(blob.data)
        if hashlib.sha256(blob.data).digest() != digest:
            return None
        compiled = core.import_model(blob, device, config)
        os.utime(entry)
        return compiled
    except (OSError, RuntimeError):
        return None


def _forget_old(folder: Path) -> None:
    entries = sorted(folder.glob("*.blob"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in entries[ENTRIES:]:
        path.unlink(missing_ok=True)
