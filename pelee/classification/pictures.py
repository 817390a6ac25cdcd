"""Pictures in a folder a class, decoded once and kept in memory."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from data.errors import DatasetError
from data.images import PICTURE_SUFFIXES, read_image
from data.preprocess import preprocess


class CachedFolder(Dataset[tuple[Tensor, Tensor]]):
    """`root/CLASS/*`, every picture warped to size×size and held as uint8: N × size² × 3 bytes.

    It is fetched a batch at a time: `dataset.__getitems__(indices)` gives (N, 3, size, size) uint8 and (N,) int64.
    """

    def __init__(self, root: Path, size: int) -> None:
        folders = sorted(folder for folder in root.iterdir() if folder.is_dir()) if root.is_dir() else []
        if not folders:
            raise DatasetError(f"{root} has no folder of pictures a class; expected {root}/CLASS/PICTURE")
        self.class_names = [folder.name for folder in folders]
        files: list[Path] = []
        labels: list[int] = []
        for label, folder in enumerate(folders):
            found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURE_SUFFIXES)
            if not found:
                raise DatasetError(f"class folder {folder} has no picture in it; fill it or remove it")
            files += found
            labels += [label] * len(found)
        self.labels = torch.tensor(labels)
        pictures = np.empty((len(files), size, size, 3), np.uint8)

        def decode(index: int) -> None:
            pictures[index] = preprocess(read_image(files[index]), size)

        with ThreadPoolExecutor() as pool:
            for _ in pool.map(decode, range(len(files))):
                pass
        self.pictures = torch.from_numpy(pictures).permute(0, 3, 1, 2)  # channels-last in memory

    def __len__(self) -> int:
        return len(self.labels)

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        return self.pictures[indices], self.labels[indices]
