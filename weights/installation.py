"""Installation of models: copy a model's folder under a name to the user's folder, and remove it."""

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data.errors import WeightsError, did_you_mean
from weights.card import CARD_NAME
from weights.export_manifest import EXPORT_NAME
from weights.model_folders import installed, installed_folder, shipped
from weights.store import ModelFile, find_exports, load_tensors, resolve, verify_export


def install(source: str | Path, name: str | None = None, *, replace: bool = False) -> Path:
    """Copy a model and its exports to the folder of installed models, verified, under a name.

    Args:
        source: what `weights.store.resolve` takes.
        name: new name; None for the card's.
        replace: whether an installed model of that name may be replaced.

    Returns:
        The new folder. It appears when it is complete.

    Raises:
        WeightsError: the model is damaged, or the name is invalid or taken.
    """
    model = resolve(source)
    name = model.card.name if name is None else name
    _check_name(name)
    target = installed_folder() / name
    if target.exists() and not replace:
        raise WeightsError(f"{name} is installed already in {target}; give another --name, or --replace")
    target.parent.mkdir(parents=True, exist_ok=True)
    with _complete_folder(target) as folder:
        copy_model(model, folder)
    return target


def uninstall(name: str) -> Path:
    """Remove an installed model and return the folder that it had; `WeightsError` for another name."""
    names = installed()
    if name not in names:
        hint = did_you_mean(name, names) or f"installed are: {', '.join(names) or 'none'}"
        raise WeightsError(f"{name!r} is no installed model; {hint}")
    folder = installed_folder() / name
    shutil.rmtree(folder)
    return folder


def copy_model(model: ModelFile, folder: Path) -> None:
    """Copy the files that a model's card, and its exports' manifests, name to an empty folder; verify each of them."""
    source = model.path.parent
    if model.export is None:
        load_tensors(model)
        names = [CARD_NAME, model.path.name]
    else:
        verify_export(model)
        names = [CARD_NAME, EXPORT_NAME, *model.export.files]
    for name in names:
        shutil.copyfile(source / name, folder / name)
    for export in find_exports(model) if model.export is None else []:
        subfolder = folder / export.path.parent.name
        subfolder.mkdir()
        copy_model(export, subfolder)


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise WeightsError(f"{name!r} is no name for a model, expected letters, digits, '-', '_' and '.'; give --name")
    if name in shipped():
        raise WeightsError(f"{name} is a model that comes with the package; give another --name")


@contextmanager
def _complete_folder(target: Path) -> Iterator[Path]:
    """Yield a new folder that takes the place of `target` when the block ends without an error."""
    with tempfile.TemporaryDirectory(prefix=f".{target.name[:32]}.", dir=target.parent) as temporary:
        new, old = Path(temporary) / "new", Path(temporary) / "old"
        new.mkdir()
        yield new
        if target.exists():
            target.rename(old)
        new.rename(target)
