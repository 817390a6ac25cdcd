"""Reader of packed datasets, from disk or from memory. A split is a folder that `pelee-data pack` wrote."""

from pathlib import Path
from urllib.parse import unquote

from data.datasets.records import Dataset
from data.errors import DatasetError
from data.packed.packed_index import CHECKSUMS, INDEX, folder_name, read_index


def read_packed(root: Path, split: str) -> Dataset:
    """Read a packed split; its images are read from the shards on disk.

    Args:
        root: the folder that `pelee-data pack --output` named, or the folder of one split in it.
        split: name of the split, as in the original dataset; may be empty where there is only one.

    Raises:
        DatasetError: no such split, or an index or a shard that is missing, cut or altered.
    """
    return read_index(_folder(Path(root), split), in_memory=False)


def read_packed_in_memory(root: Path, split: str) -> Dataset:
    """Read a packed split as `read_packed`, with all shards in memory, where they are checked by their checksums."""
    return read_index(_folder(Path(root), split), in_memory=True)


def packed_splits(root: Path) -> list[str]:
    """Return the names of the packed splits below a root, those for training first."""
    folders = [root] if _is_packed(root) else list(_folders(root).values())
    return sorted((unquote(folder.name) for folder in folders), key=lambda name: ("train" not in name, name))


def _folder(root: Path, split: str) -> Path:
    if not root.is_dir():
        raise DatasetError(f"{root}: no such folder; expected the --output of pelee-data pack")
    if _is_packed(root) and (not split or root.name == folder_name(split)):
        return root
    folders = _folders(root)
    if not split and len(folders) == 1:
        return next(iter(folders.values()))
    if split and folder_name(split) in folders:
        return folders[folder_name(split)]
    there = ", ".join(packed_splits(root)) or "none"
    found = f"no packed split {split!r}" if split else "no split named"
    raise DatasetError(f"{root}: {found}; there are {there}")


def _folders(root: Path) -> dict[str, Path]:
    """Return the folders of the packed splits in a folder, by name."""
    if not root.is_dir():
        return {}
    return {folder.name: folder for folder in sorted(root.iterdir()) if folder.name[:1] != "." and _is_packed(folder)}


def _is_packed(folder: Path) -> bool:
    """Whether a folder has a packed split, even one that lacks its index or checksums: the reader reports that."""
    return folder.is_dir() and (
        (folder / INDEX).is_file()
        or (folder / CHECKSUMS).is_file()
        or next(folder.glob("*-00000.tar"), None) is not None
    )
