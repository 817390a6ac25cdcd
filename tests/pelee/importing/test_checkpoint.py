"""PyTorch checkpoints: tensors by name from the old and the new format; code in a pickle is never run."""

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from data.errors import WeightsError
from pelee.importing.checkpoint import MAX_BYTES, read_checkpoint

STATE = {"module.a.weight": torch.ones(2), "module.b": torch.tensor(3)}


@pytest.mark.parametrize("new_format", [True, False])
@pytest.mark.parametrize(
    "content", [STATE, {"epoch": 3, "best_acc1": torch.tensor(0.7), "state_dict": STATE}, {"model": STATE}]
)
def test_tensors_are_read_without_the_prefix(content: dict[str, Any], new_format: bool, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "a.pth.tar", _use_new_zipfile_serialization=new_format)
    found = read_checkpoint(tmp_path / "a.pth.tar")
    assert found.keys() == {"a.weight", "b"} and found["a.weight"].tolist() == [1, 1] and found["b"] == 3


class Payload:
    """A pickle that would make a file when it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        return open, (str(self.path), "w")


@pytest.mark.parametrize("writer", ["torch", "pickle"])
def test_code_in_a_pickle_is_not_run(writer: str, tmp_path: Path) -> None:
    file, made = tmp_path / "a.pth.tar", tmp_path / "made"
    content = {"state_dict": STATE, "extra": Payload(made)}
    if writer == "torch":
        torch.save(content, file)
    else:
        file.write_bytes(pickle.dumps(content))
    with pytest.raises(WeightsError, match="without running code") as caught:
        read_checkpoint(file)
    assert "\n" not in str(caught.value) and not made.exists()
    reason = "open, which is code and no tensor" if writer == "torch" else "it holds other objects than tensors"
    assert reason in str(caught.value) and "PyTorch 2.6" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.ones(2)], "holds no state dict"),
        ({}, "holds no state dict"),
        ({"a": torch.ones(2), "epoch": 3}, "holds no state dict"),
        ({"a": torch.tensor([1.0, float("nan")])}, "tensor a holds NaN"),
    ],
)
def test_other_content_is_refused(content: Any, message: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=message):
        read_checkpoint(tmp_path / "a.pth")


def test_damaged_large_and_absent_files_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.pth"
    torch.save(STATE, file)
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(WeightsError, match="is no checkpoint") as caught:
        read_checkpoint(file)
    assert "\n" not in str(caught.value) and "internal miniz error" not in str(caught.value)
    os.truncate(file, MAX_BYTES + 1)  # sparse: takes no disk
    with pytest.raises(WeightsError, match="at most"):
        read_checkpoint(file)
    with pytest.raises(WeightsError, match="no such file"):
        read_checkpoint(tmp_path / "none.pth")
