"""Training on several processes: the same gradients as one with the whole batch, every picture counted once."""

import os
import subprocess
import sys
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


@pytest.mark.slow
def test_pelee_train_on_two_processes(yolo_root: Path, tmp_path: Path) -> None:
    """The whole way, over unequal shares of three validation pictures."""
    command = [sys.executable, "-m", "detection.commands.train", "--dataset", "yolo", "--root", str(yolo_root)]
    command += ["--devices", "2", "--accelerator", "cpu", "--output", str(tmp_path), "--batch-size", "6"]
    command += ["--epochs", "2", "--input-size", "64", "--precision", "fp32", "--workers", "0", "--validate-every", "1"]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=240, check=False
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
