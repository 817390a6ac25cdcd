"""Training on several processes and nodes: gradients of one with the whole batch, lost nodes, restarts."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
import torch

import detection.training.dataset
from data.datasets.records import Dataset
from data.datasets.registry import open_dataset
from detection.evaluation.evaluate import merge_predictions
from detection.evaluation.voc_ap import evaluate_voc
from detection.inference.prediction import Prediction
from detection.models.pelee import Pelee, PeleeConfig
from tests.support import ddp_process as ddp_process
from tests.support.paths import ROOT
from tests.support.ports import free_port
from tests.support.run_files import load, measure, read_csv


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


@pytest.mark.slow
def test_two_processes_have_the_gradients_of_one_with_the_whole_batch(tmp_path: Path) -> None:
    script = Path(ddp_process.__file__)
    processes = [
        subprocess.Popen(
            [sys.executable, str(script), str(rank), str(tmp_path)],
            env=environment(),
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    try:
        errors = [process.communicate(timeout=300)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], errors
    found = torch.load(tmp_path / "gradients.pt", weights_only=True)
    network = ddp_process.make_network()
    for name, boxes in ddp_process.CASES.items():
        expected = ddp_process.gradients(network, network.priors(), boxes, 0)
        assert len(found[name]) == len(expected) == len(list(network.parameters()))
        size = max(float(gradient.abs().max()) for gradient in expected)
        assert (size == 0) == (name == "none at all")
        for one, other in zip(found[name], expected, strict=True):
            close = torch.allclose(one, other, rtol=1e-4, atol=1e-5 * size)
            assert close, f"{name}: differs by {float((one - other).abs().max())} of {size}"


def test_predictions_of_two_processes_count_every_picture_once(val_set: Dataset) -> None:
    # A perfect detector: counted twice, each object would bring a false positive.
    records = val_set.records[:3]
    perfect = [Prediction(r.boxes, np.full(len(r.labels), 0.9, np.float32), r.labels) for r in records]
    shares = [
        [
            (index, perfect[index])
            for index in detection.training.dataset.EvaluationDataset(records, 64, rank, 2).indices
        ]
        for rank in (0, 1)
    ]
    assert [len(share) for share in shares] == [2, 1]
    merged = merge_predictions(shares, 3)
    assert all(a is b for a, b in zip(merged, perfect, strict=True))
    assert evaluate_voc(merged, records, val_set.class_names).map_11point == 1


def training(yolo_root: Path, output: Path, *options: str, epochs: int = 2) -> list[str]:
    """Arguments of a training of one step an epoch."""
    command = ["-m", "detection.commands.train", "--dataset", "yolo", "--root", str(yolo_root), "--output", str(output)]
    command += ["--accelerator", "cpu", "--batch-size", "6", "--epochs", str(epochs), "--input-size", "64"]
    return [*command, "--precision", "fp32", "--workers", "0", "--no-export", "--validate-every", str(epochs), *options]


def start(*arguments: str, **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment() | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@contextmanager
def two_nodes(arguments: list[str]) -> Iterator[list[subprocess.Popen[str]]]:
    """Start a training on two nodes of one process; they end with the block at the latest."""
    port = free_port()
    nodes = [start(*arguments, "--node-rank", str(rank), "--master", f"127.0.0.1:{port}") for rank in (0, 1)]
    try:
        yield nodes
    finally:
        for node in nodes:
            node.kill()
            node.wait()


def wait_for_checkpoint(output: Path, process: subprocess.Popen[str]) -> None:
    while not (output / "last.ckpt").is_file():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


@pytest.mark.slow
def test_pelee_train_on_two_processes(yolo_root: Path, tmp_path: Path) -> None:
    """The whole way, over unequal shares of three validation images; two nodes give the same weights."""
    done = subprocess.run(
        [sys.executable, *training(yolo_root, tmp_path, "--devices", "2", "--validate-every", "1")],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    scores = [float(row["val/mAP"]) for row in read_csv(tmp_path) if row["val/mAP"]]
    found_nothing = "finds no object" in done.stderr  # so short a training may leave such a model
    assert done.returncode == int(found_nothing) and (max(scores) > 0 or found_nothing), done.stderr
    assert len(scores) == 2

    network = Pelee(PeleeConfig(num_classes=2, input_size=64))
    state = load(tmp_path / "best.ckpt")["state_dict"]
    network.load_state_dict({name.removeprefix("network."): tensor for name, tensor in state.items()})
    assert max(scores) == pytest.approx(measure(network, open_dataset("yolo", yolo_root, "val")), abs=1e-5)
    assert (tmp_path / "model" / "card.json").is_file()

    with two_nodes(training(yolo_root, tmp_path / "nodes", "--nodes", "2", "--validate-every", "1")) as nodes:
        errors = [node.communicate(timeout=240)[1] for node in nodes]
    assert nodes[1].returncode == 0 and nodes[0].returncode in (0, 1), errors  # 1: such a model finds nothing
    state = load(tmp_path / "last.ckpt")["state_dict"]
    other = load(tmp_path / "nodes" / "last.ckpt")["state_dict"]
    assert state.keys() == other.keys() and all(torch.equal(state[name], other[name]) for name in state)
    record = json.loads((tmp_path / "nodes" / "run.json").read_text())
    assert "--node-rank 0" in record["command"]  # the record of the node that writes the run's files


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kill -9")
def test_a_lost_node_ends_the_run_with_one_line_and_it_can_be_resumed(yolo_root: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    with two_nodes(training(yolo_root, output, "--nodes", "2", "--checkpoint-every", "1", epochs=12)) as nodes:
        wait_for_checkpoint(output, nodes[0])
        nodes[1].kill()
        _, errors = nodes[0].communicate(timeout=240)
    assert nodes[0].returncode == 2 and "Traceback" not in errors
    assert errors.splitlines()[-1].startswith("error: the connection to another process of the run was lost (")
    assert f"go on with: pelee-train --output {output} --resume --node-rank 0" in errors
    step = load(output / "last.ckpt")["global_step"]
    assert 0 < step < 12
    with two_nodes(["-m", "detection.commands.train", "--output", str(output), "--resume"]) as nodes:
        errors = [node.communicate(timeout=240)[1] for node in nodes]
    assert nodes[1].returncode == 0 and nodes[0].returncode in (0, 1), errors
    assert load(output / "last.ckpt")["global_step"] == 12


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kill -9")
def test_torchrun_restarts_a_lost_process_from_the_last_checkpoint(yolo_root: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    elastic = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--max-restarts", "1"]
    arguments = training(yolo_root, output, "--checkpoint-every", "1", epochs=12)
    agent = start(*elastic, *arguments, TORCH_DISABLE_SHARE_RDZV_TCP_STORE="1")
    try:
        wait_for_checkpoint(output, agent)
        started = [int(pid) for pid in Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text().split()]
        trainers = [pid for pid in started if b"train" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        os.kill(trainers[-1], signal.SIGKILL)
        out, errors = agent.communicate(timeout=240)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(agent.pid, signal.SIGKILL)
    assert agent.returncode == 0 or "finds no object" in errors, errors
    assert out.count("precision fp32") == 4  # both processes, twice
    assert load(output / "last.ckpt")["global_step"] == 12
