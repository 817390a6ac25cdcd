"""Int8 model on older instruction sets: `python -m tests.acceptance.instruction_sets` prints a row for each.

oneDNN is limited by ONEDNN_MAX_CPU_ISA, in a process and with a cache of its own. On each, the sample images must give
the detections of the processor's own instruction set, with scores at most `SCORES` apart.
"""

import json
import os
import subprocess
import sys
import tempfile
from typing import Any

from tests.support.paths import ROOT

SETS = ("DEFAULT", "AVX2", "AVX2_VNNI", "AVX512_CORE", "AVX512_CORE_VNNI")
SCORES = 0.02
CODE = """
import json, sys, time
import numpy as np
from data.images.image_io import read_image
from detection.detector import Detector
detector = Detector.load("pelee-voc")
found = [detector.predict_batch([read_image(path)], 0.3)[0] for path in sys.argv[1:]]
black = np.zeros((1, detector.input_size, detector.input_size, 3), np.uint8)
times = []
for _ in range(50):
    start = time.process_time()
    detector.runtime(black)
    times.append(1000 * (time.process_time() - start))
labels = [label for one in found for label in one.labels.tolist()]
scores = [score for one in found for score in one.scores.tolist()]
print(json.dumps({"ms": float(np.median(times)), "labels": labels, "scores": scores}))
"""


def measure(limit: str) -> dict[str, Any]:
    """Detect in the sample images under a limit of the instruction set; "ms" is processor time per image."""
    images = [str(path) for path in sorted((ROOT / "data" / "samples").glob("*.jpg"))]
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {"ONEDNN_MAX_CPU_ISA": limit, "XDG_CACHE_HOME": cache}
        command = [sys.executable, "-c", CODE, *images]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> int:
    """Print the table; returns 1 where an instruction set gives other detections."""
    own = measure(SETS[0])
    failed = False
    for name in SETS:
        found = own if name == SETS[0] else measure(name)
        same = bool(own["labels"]) and found["labels"] == own["labels"]
        apart = max((abs(a - b) for a, b in zip(found["scores"], own["scores"], strict=True)), default=0) if same else 1
        failed |= apart > SCORES
        print(
            f"{name:18} {found['ms']:6.1f} core-ms, scores {apart:.4f} apart" + ("" if same else ", other detections")
        )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
