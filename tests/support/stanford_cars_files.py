"""Stanford Cars in small, in the very structure of its official files: both layouts, with synthetic images."""

from pathlib import Path

import numpy as np
from scipy.io import savemat

from data.images.image_io import write_image

NAMES = ("AM General Hummer SUV 2000", "Ram C/V Cargo Van Minivan 2012", "smart fortwo Convertible 2012")
SIZE = (40, 30)  # width, height
#: 1-based, inclusive: x1, y1, x2, y2 of every image's box
BOXES = ((1, 1, 40, 30), (11, 6, 30, 25), (5, 3, 20, 14), (21, 11, 38, 28))
#: The same boxes as xyxy in continuous pixels, by hand.
CORNERS = [[0, 0, 40, 30], [10, 5, 30, 25], [4, 2, 20, 14], [20, 10, 38, 28]]
INSIDE, OUTSIDE = (200, 40, 40), (10, 120, 220)
FIELDS = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2")


def make_image(box: tuple[int, int, int, int]) -> np.ndarray:
    """(H, W, 3) uint8: the box in one colour, what is around it in another."""
    image = np.full((SIZE[1], SIZE[0], 3), OUTSIDE, np.uint8)
    image[box[1] - 1 : box[3], box[0] - 1 : box[2]] = INSIDE
    return image


def structs(rows: list[dict[str, object]]) -> np.ndarray:
    """A (1, N) struct array, as MATLAB has them."""
    made = np.empty((1, len(rows)), [(name, object) for name in rows[0]])
    for place, row in enumerate(rows):
        for name, value in row.items():
            made[0, place][name] = value
    return made


def names() -> np.ndarray:
    """A (1, C) cell array."""
    cells = np.empty((1, len(NAMES)), object)
    cells[0, :] = NAMES
    return cells


def official(root: Path, count: int = 4) -> Path:
    """devkit, cars_train and cars_test: image i of a split is of class i modulo 3, the test's labels are in root."""
    (root / "devkit").mkdir(parents=True)
    savemat(root / "devkit" / "cars_meta.mat", {"class_names": names()})
    for split in ("train", "test"):
        rows = []
        for place in range(count):
            box = BOXES[place % len(BOXES)]
            name = f"{place + 1:05}.jpg"
            write_image(root / f"cars_{split}" / name, make_image(box))
            rows.append(dict(zip(FIELDS, box, strict=True)) | {"class": place % len(NAMES) + 1, "fname": name})
        labelled = root / "cars_test_annos_withlabels.mat"
        savemat(root / "devkit/cars_train_annos.mat" if split == "train" else labelled, {"annotations": structs(rows)})
        if split == "test":
            without = [{key: value for key, value in row.items() if key != "class"} for row in rows]
            savemat(root / "devkit" / "cars_test_annos.mat", {"annotations": structs(without)})
    return root


def older(root: Path) -> Path:
    """cars_annos.mat and car_ims: the first two images train, the last two test."""
    rows = []
    for place, box in enumerate(BOXES):
        path = f"car_ims/{place + 1:06}.jpg"
        write_image(root / path, make_image(box))
        label, test = np.uint8(place % len(NAMES) + 1), np.uint8(place >= 2)
        rows.append({"relative_im_path": path} | dict(zip(FIELDS, box, strict=True)) | {"class": label, "test": test})
    savemat(root / "cars_annos.mat", {"annotations": structs(rows), "class_names": names()})
    return root


def list_files(root: Path) -> list[str]:
    """Relative paths of all files below a folder, sorted."""
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
