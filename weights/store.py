"""Model folders: find one by name or path, verify and read its weights, write one atomically.

A model is a folder with a card (`weights.card`) and the safetensors file that the card names. Pickles are rejected.
An exported model is a folder with its source's card, a manifest (`weights.export_manifest`) and the files that a
runtime opens; it may be anywhere or in a subfolder of its source.
"""

import dataclasses
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.atomic_files import atomic_path
from data.errors import WeightsError, did_you_mean
from weights.card import CARD_NAME, Card
from weights.export_manifest import EXPORT_NAME, SUFFIXES, Export
from weights.hub import download, is_hub_address
from weights.model_folders import folder_of, installed, shipped

PICKLE_SUFFIXES = (".pth", ".pt", ".ckpt", ".pkl", ".pickle", ".bin")
# A zip (torch.save since 1.6), a pickle of protocol 2 to 5, and the magic number of the older torch.save.
PICKLE_STARTS = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P")
RUN_MODEL = "model"  # subfolder of a training's folder
HALF_MAX = float(np.finfo(np.float16).max)
BUFFERS = ("running_mean", "running_var", "num_batches_tracked")  # batch norm's statistics: stored, not trained


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model folder's card and files.

    Attributes:
        card: the model's card; an export has its source's.
        path: the weights, or the file of an export that a runtime opens.
        export: the manifest of an export, None for weights.
    """

    card: Card
    path: Path
    export: Export | None = None


def resolve(name_or_path: str | Path) -> ModelFile:
    """Find a model: the name of a shipped or an installed one ("pelee-voc"), its folder, its card, or the file in it.

    Also the folder of a training, an export's folder or file, and "hf://owner/name", a model on the Hugging Face Hub,
    which is downloaded.

    A name has precedence over a folder of that name in the working directory, so that a command means the same in every
    folder; `./pelee-voc` is the folder. Raises `WeightsError` for an unknown name or an incomplete folder;
    `load_tensors` and `verify_export` verify the files when they are read.
    """
    name = str(name_or_path)
    if isinstance(name_or_path, str):
        if is_hub_address(name):
            return _open(download(name))
        if (folder := folder_of(name)) is not None:
            return _open(folder)
    path = Path(name).expanduser()
    if name and path.is_dir():
        if (path / RUN_MODEL / CARD_NAME).is_file():
            path = path / RUN_MODEL
        if not (path / CARD_NAME).is_file() and (path / "last.ckpt").is_file():
            raise WeightsError(
                f"{path}: a training without a model yet; --finish {path} of the command that began it writes one"
            )
        if not (path / CARD_NAME).is_file():
            raise WeightsError(f"{path}: the folder holds no {CARD_NAME}, expected a model's folder (card and weights)")
        return _open(path)
    if not path.is_file():
        raise WeightsError(_unknown(name))
    if path.name in (CARD_NAME, EXPORT_NAME):
        return _open(path.parent)
    is_export = path.suffix in SUFFIXES.values()
    if not is_export:  # TorchScript files are zips, too; their loader runs no pickle
        _refuse_pickle(path)
    if path.suffix != ".safetensors" and not is_export:
        raise WeightsError(
            f"{path}: is no .safetensors file nor an exported {', '.join(SUFFIXES.values())}, "
            "expected a model's folder or its file"
        )
    if is_export and not (path.parent / EXPORT_NAME).is_file():
        raise WeightsError(f"{path}: has no {EXPORT_NAME} next to it, expected the folder that pelee-export wrote")
    if not (path.parent / CARD_NAME).is_file():
        raise WeightsError(f"{path}: has no {CARD_NAME} next to it, expected the card that came with the weights")
    model = _open(path.parent)
    if model.path.name != path.name:
        raise WeightsError(f"{path}: the card next to it describes {model.path.name}, expected one for {path.name}")
    return model


def find_exports(model: ModelFile) -> list[ModelFile]:
    """Return the exports in subfolders of a model's folder that were made from exactly these weights, by name."""
    found = [_open(path.parent) for path in sorted(model.path.parent.glob(f"*/{EXPORT_NAME}"))]
    return [other for other in found if other.export and other.export.source_sha256 == model.card.sha256]


def verify_export(model: ModelFile) -> Export:
    """Verify an export's files and return its manifest. Raises `WeightsError` for a missing or changed file."""
    if model.export is None:
        raise WeightsError(f"{model.path}: is no export; make one with pelee-export")
    model.export.verify(model.path.parent)
    return model.export


def load_tensors(model: ModelFile) -> dict[str, np.ndarray]:
    """Read a model's weights: floating-point as float32, integers as stored; every array is writable and owns its data.

    The file is read once, and its SHA-256 is verified before it is parsed. Raises `WeightsError` on a file
    that is not the one the card describes, cannot be parsed, or holds NaN or infinity.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    if model.export is not None:
        raise WeightsError(f"{model.path}: is an export, expected the weights that it was made from")
    _refuse_pickle(model.path)
    content = model.path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != model.card.sha256:
        raise WeightsError(
            f"{model.path}: SHA-256 is {found[:12]}, expected {model.card.sha256[:12]}: "
            "the file is damaged or not the one its card describes; get the model again"
        )
    try:
        stored = load(content)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{model.path}: is no readable safetensors file ({error}); get the model again") from None
    if not stored:
        raise WeightsError(f"{model.path}: holds no tensors, expected the weights of {model.card.architecture}")
    tensors = {}
    for name, tensor in stored.items():
        tensors[name] = np.array(tensor, dtype=np.float32 if tensor.dtype.kind == "f" else tensor.dtype)
        _refuse_nan(name, tensors[name], str(model.path))
    return tensors


def save_model(folder: Path | str, tensors: Mapping[str, np.ndarray], card: Card, half: bool = True) -> ModelFile:
    """Write a model's folder and return it; sets the card's `file`, `sha256` and `parameters`.

    With `half`, matrices and convolutions are stored as float16. One-dimensional tensors (biases and batch norm,
    whose variances span many orders of magnitude, 2% of the numbers) stay float32, as does one that would overflow.
    Raises `WeightsError` on no tensors, NaN or infinity.
    """
    from safetensors.numpy import save

    folder = Path(folder)
    if not tensors:
        raise WeightsError(f"{folder}: no tensors to save, expected the weights of {card.architecture}")
    stored = {name: _stored(np.asarray(tensor), half) for name, tensor in tensors.items()}
    for name, tensor in stored.items():
        _refuse_nan(name, tensor, f"not saved to {folder}")
    content = save(stored)
    digest = hashlib.sha256(content).hexdigest()

    # The weights' file name contains their hash, and the card, replaced last, names the file. A kill before the card's
    # rename leaves the old card with the old weights, after it the new card with the new weights. Only unused files
    # can be left over; the next save removes them.
    path = folder / f"model-{digest[:8]}.safetensors"
    card = dataclasses.replace(card, file=path.name, sha256=digest, parameters=count_parameters(tensors))
    text = card.to_json()
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
    with atomic_path(folder / CARD_NAME) as temporary:
        temporary.write_text(text, encoding="utf-8")
    for other in folder.glob("*.safetensors"):
        if other != path and re.fullmatch(r"model(-[0-9a-f]{8})?\.safetensors", other.name):
            other.unlink(missing_ok=True)
    return ModelFile(card, path)


def count_parameters(tensors: Mapping[str, np.ndarray]) -> int:
    """Count the parameters as PyTorch's `parameters()` does: without batch norm's statistics."""
    return sum(int(np.size(tensor)) for name, tensor in tensors.items() if name.rpartition(".")[2] not in BUFFERS)


def is_pickle(path: Path) -> bool:
    """Whether a file is a pickle or PyTorch's zip of one, by its suffix and first bytes."""
    with path.open("rb") as file:
        start = file.read(16)
    # A safetensors file starts with its header's length, eight bytes that can look like a pickle's, then "{".
    pickled = start.startswith(PICKLE_STARTS) and start[8:9] != b"{"
    return pickled or path.suffix.lower() in PICKLE_SUFFIXES


def _open(folder: Path) -> ModelFile:
    card = Card.load(folder)
    if (folder / EXPORT_NAME).is_file():
        export = Export.load(folder)
        if export.input_size != card.input_size:
            raise WeightsError(
                f"{folder}: exported for an input of {export.input_size} pixels, its card says {card.input_size}: "
                "the two do not belong together; export the model again"
            )
        return ModelFile(card, folder / next(iter(export.files)), export)
    path = folder / card.file
    if not path.is_file():
        raise WeightsError(f"{path}: no such file, expected the weights that {folder / CARD_NAME} names")
    return ModelFile(card, path)


def _unknown(name: str) -> str:
    ours, own = shipped(), installed()
    found = f"{name!r} is neither a shipped model ({', '.join(ours) or 'none'})"
    found += f" nor an installed one ({', '.join(own)})" if own else ""
    return "; ".join(filter(None, (f"{found} nor a path that exists", did_you_mean(name, [*ours, *own]))))


def _refuse_pickle(path: Path) -> None:
    """Raise WeightsError for a pickle before it is parsed: unpickling can run code."""
    if is_pickle(path):
        raise WeightsError(f"{path}: is a pickle, which can run code when opened; only safetensors are loaded")


def _refuse_nan(name: str, tensor: np.ndarray, where: str) -> None:
    if tensor.dtype.kind == "f" and not np.isfinite(tensor).all():
        raise WeightsError(f"{where}: tensor {name!r} holds NaN or infinity, expected finite weights")


def _stored(tensor: np.ndarray, half: bool) -> np.ndarray:
    """Return a C-contiguous copy in the type that goes to the file."""
    if tensor.dtype.kind != "f":
        return np.array(tensor, order="C")
    fits = tensor.ndim >= 2 and (tensor.size == 0 or float(np.abs(tensor).max()) <= HALF_MAX)
    return np.array(tensor, dtype=np.float16 if half and fits else np.float32, order="C")
