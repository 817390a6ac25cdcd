"""Writers of the formats of mobile devices: LiteRT (TFLite) and ncnn. Both take one image and are f32."""

import subprocess
import tempfile
from pathlib import Path

import torch
from torch import nn

from data.errors import WeightsError
from pelee.export.calibration import Calibration
from pelee.export.graph import Graph

CONVERT_SECONDS = 600  # pnnx takes some seconds


def write_litert(
    path: Path, graph: Graph, size: int, metadata: dict[str, str], calibration: Calibration | None
) -> None:
    """Write a LiteRT file, for images (1, S, S, 3). It holds no metadata: the card is beside it."""
    import litert_torch

    assert calibration is None and not graph.nms
    example = torch.zeros(1, size, size, 3, dtype=graph.input_type)
    litert_torch.convert(graph.module, (example,)).export(str(path))


def write_ncnn(path: Path, graph: Graph, size: int, metadata: dict[str, str], calibration: Calibration | None) -> None:
    """Write ncnn's two files, `path` and the weights beside it in `.bin`, for float images (S, S, 3) in 0..255.

    They hold no metadata: the card is beside them. Raises `WeightsError` if pnnx cannot convert the graph.
    """
    import pnnx

    assert calibration is None and not graph.nms
    _average_inside(graph.module)
    # ncnn has no conversion of types, and the module one of uint8 images, which a trace of a float leaves out.
    traced = torch.jit.trace(graph.module, torch.zeros(1, size, size, 3), check_trace=False)
    with tempfile.TemporaryDirectory() as folder:
        torch.jit.save(traced, f"{folder}/graph.pt")
        command = [pnnx.EXEC_PATH, "graph.pt", f"inputshape=[1,{size},{size},3]f32", "fp16=0"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=CONVERT_SECONDS)
        made = Path(folder, "graph.ncnn.param"), Path(folder, "graph.ncnn.bin")
        if done.returncode or not all(file.is_file() for file in made):
            last = (done.stderr.strip() or done.stdout.strip() or "it printed nothing").splitlines()[-1]
            raise WeightsError(f"pnnx cannot convert the graph to ncnn (exit code {done.returncode}): {last}")
        for file, target in zip(made, (path, path.with_suffix(".bin")), strict=True):
            target.write_bytes(file.read_bytes())


def _average_inside(module: nn.Module) -> None:
    """Have average pooling without padding divide by the pixels inside the image alone, which changes nothing in torch.

    At an edge that `ceil_mode` adds, ncnn divides by the whole window unless padding is left out of the count.
    """
    for part in module.modules():
        if isinstance(part, nn.AvgPool2d) and part.padding in (0, (0, 0)):
            part.count_include_pad = False
