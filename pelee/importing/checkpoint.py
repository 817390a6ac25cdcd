"""PyTorch checkpoints of other projects (`.pth`, `.pth.tar`): tensors by name, no code run."""

import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from data.errors import WeightsError
from pelee.models.pretrained import unpickling_reason

MAX_BYTES = 1 << 30


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Tensors of a state dict, or of the one under "state_dict" or "model", without the prefix `module.`.

    Opened with `weights_only=True`, on the CPU: a pickle that holds code is refused, not run.

    Raises:
        WeightsError: no such file, not that format, or values that are not finite; one line.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: no such file, expected a PyTorch checkpoint")
    if (size := path.stat().st_size) > MAX_BYTES:
        raise WeightsError(f"{path}: is {size:,} bytes, expected a checkpoint of at most {MAX_BYTES:,}")
    try:
        with warnings.catch_warnings():  # of the protocol of a pickle that is refused anyway
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling of a damaged file raises errors of many types
        reason = unpickling_reason(error)
        raise WeightsError(f"{path}: is no checkpoint that opens without running code ({reason})") from None
    state = content
    if isinstance(content, dict):  # "model" is the key of torchvision's reference training
        state = content.get("state_dict", content.get("model", content))
    if not isinstance(state, Mapping) or not state:
        raise WeightsError(f"{path}: holds no state dict; expected tensors by name, or a checkpoint with state_dict")
    for name, tensor in state.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise WeightsError(
                f"{path}: holds no state dict; expected tensors by name, or a checkpoint with state_dict"
            )
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise WeightsError(f"{path}: tensor {name} holds NaN or infinity; the file is damaged")
    return {name.removeprefix("module."): tensor.detach() for name, tensor in state.items()}
