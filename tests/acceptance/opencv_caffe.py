"""Caffe networks run by OpenCV 4's dnn, the reference of the import; in a process with an OpenCV of its own.

OpenCV 5, which this project takes, has no Caffe importer. PELEE_OPENCV4 is a folder with OpenCV 4, made by
`pip install --target FOLDER --no-deps 'opencv-python-headless<5'`.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

FOLDER_VARIABLE = "PELEE_OPENCV4"
SUBJECT, BLOBS, FOUND = "network", "blobs.npy", "found.npz"


def missing_opencv4() -> str:
    """Reason to skip: the folder is not given; "" if it is."""
    given = os.environ.get(FOLDER_VARIABLE)
    return "" if given and (Path(given) / "cv2").is_dir() else f"{FOLDER_VARIABLE} names no folder with OpenCV 4"


def forward(
    folder: Path, prototxt: str, weights: bytes, blobs: np.ndarray, outputs: Sequence[str]
) -> dict[str, np.ndarray]:
    """Outputs of a network for each input of (N, 3, S, S) float32, stacked over N."""
    (folder / f"{SUBJECT}.prototxt").write_text(prototxt)
    (folder / f"{SUBJECT}.caffemodel").write_bytes(weights)
    np.save(folder / BLOBS, blobs)
    command = [sys.executable, "-P", __file__, str(folder), json.dumps(list(outputs))]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": os.environ[FOLDER_VARIABLE]})
    return dict(np.load(folder / FOUND))


def _run(folder: Path, outputs: list[str]) -> None:
    import cv2

    network = cv2.dnn.readNetFromCaffe(str(folder / f"{SUBJECT}.prototxt"), str(folder / f"{SUBJECT}.caffemodel"))
    found: dict[str, list[np.ndarray]] = {name: [] for name in outputs}
    for blob in np.load(folder / BLOBS):
        network.setInput(np.ascontiguousarray(blob[None]))
        for name, value in zip(outputs, network.forward(outputs), strict=True):
            found[name].append(value.copy())
    np.savez(folder / FOUND, **{name: np.stack(values) for name, values in found.items()})


if __name__ == "__main__":
    _run(Path(sys.argv[1]), json.loads(sys.argv[2]))
