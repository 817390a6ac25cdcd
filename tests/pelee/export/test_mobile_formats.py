"""LiteRT and ncnn on a small graph: the same as torch, outputs in its order, average pooling at an edge included."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from data.errors import SettingsError, WeightsError
from pelee.export.exporter import export
from pelee.export.graph import Graph
from pelee.export.mobile_formats import write_ncnn
from pelee.runtime.backends import BACKENDS
from pelee.runtime.selection import open_session
from pelee.runtime.session import RuntimeOptions
from tests.support.tiny_detector import SIZE, pictures, save_small


class PoolingGraph(nn.Module):
    """(N, S, S, 3) uint8 -> (N, P, 2) and (N, P, 3): two heads on the pixels left by a pooling that has a rest."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2)  # an odd side
        self.pool = nn.AvgPool2d(2, 2, ceil_mode=True)
        self.heads = nn.ModuleList(nn.Conv2d(8, count, 1) for count in (2, 3))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        pixels = self.pool(self.stem(images.permute(0, 3, 1, 2).float() / 255))
        return tuple(head(pixels).flatten(2).transpose(1, 2) for head in self.heads)


@pytest.fixture
def graph() -> Graph:
    torch.manual_seed(0)
    return Graph(PoolingGraph().eval(), ("first", "second"))


@pytest.mark.slow
@pytest.mark.parametrize(("form", "needed"), [("litert", "litert_torch"), ("ncnn", "pnnx")])
@pytest.mark.parametrize("mode", ["latency", "throughput"])
def test_export_finds_what_torch_finds(graph: Graph, tmp_path: Path, form: str, needed: str, mode: str) -> None:
    pytest.importorskip(needed)
    pytest.importorskip(BACKENDS[form].module)
    made = export(save_small(tmp_path / "small"), graph, tmp_path / form, form, lambda _: {})
    session = open_session(made, lambda: graph.module, RuntimeOptions(mode=mode))  # type: ignore[arg-type]
    assert session.name == f"{form} f32 cpu" and session.input_size == SIZE
    batches = [pictures(count) for count in (1, 3, 2)]
    for images, future in zip(batches, [session.submit(images) for images in batches], strict=True):
        with torch.no_grad():
            expected = graph.module(torch.from_numpy(images))
        for ours, theirs in zip(future.result(60), expected, strict=True):
            np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["litert", "ncnn"])
def test_nms_and_int8_are_refused(graph: Graph, tmp_path: Path, form: str) -> None:
    model = save_small(tmp_path / "small")
    with pytest.raises(SettingsError, match=f"{form} has no non-maximum suppression .* --no-nms"):
        export(model, Graph(graph.module, (), nms=True), tmp_path / "out", form, lambda _: {})
    with pytest.raises(SettingsError, match=f"{form} has no int8 here"):
        export(model, graph, tmp_path / "out", form, lambda _: {}, calibration=object())  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def replace_pnnx(monkeypatch: pytest.MonkeyPatch, script: Path, lines: str) -> None:
    script.write_text(f"#!/bin/sh\n{lines}\n")
    script.chmod(0o755)
    monkeypatch.setitem(sys.modules, "pnnx", SimpleNamespace(EXEC_PATH=str(script)))  # type: ignore[arg-type]


def test_pnnx_that_fails_is_an_error_with_its_last_line(
    graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_pnnx(monkeypatch, tmp_path / "pnnx", "echo one; echo no such layer >&2; exit 3")
    with pytest.raises(WeightsError, match=r"exit code 3\): no such layer"):
        write_ncnn(tmp_path / "model.param", graph, SIZE, {}, None)
    replace_pnnx(monkeypatch, tmp_path / "pnnx", "touch graph.ncnn.param")
    with pytest.raises(WeightsError, match=r"exit code 0\): it printed nothing"):
        write_ncnn(tmp_path / "model.param", graph, SIZE, {}, None)
    assert not (tmp_path / "model.param").exists()


def test_both_files_of_ncnn_are_written_and_pooling_keeps_its_results(
    graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = torch.from_numpy(pictures(2))
    before = [output.detach().clone() for output in graph.module(images)]
    replace_pnnx(monkeypatch, tmp_path / "pnnx", "echo $2 $3 > graph.ncnn.param; echo weights > graph.ncnn.bin")
    write_ncnn(tmp_path / "model.param", graph, SIZE, {}, None)
    assert (tmp_path / "model.param").read_text() == f"inputshape=[1,{SIZE},{SIZE},3]f32 fp16=0\n"
    assert (tmp_path / "model.bin").read_text() == "weights\n"
    assert not graph.module.pool.count_include_pad  # type: ignore[union-attr]
    for ours, theirs in zip(graph.module(images), before, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
