"""A teacher with ImageNet weights: what it says of every training picture, and the loss that follows it.

Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015, section 2. The teacher sees each
picture once, whole and mirrored, before the training: on a CPU that costs a fraction of seeing every crop. Its classes
need not be the student's: a second linear layer, dropped afterwards, speaks in the teacher's.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from data.atomic_files import atomic_path
from data.errors import SettingsError, WeightsError
from data.progress_bar import progress_bar
from pelee.classification.training.dataset import ImageBatches
from pelee.classification.training.sampler import sequential_batches
from pelee.models.layers import IMAGENET_MEAN, IMAGENET_STD
from pelee.models.pretrained import read_state_dict

BATCH = 250  # pictures that the teacher sees at once


def load_teacher(file: Path, architecture: str) -> nn.Module:
    """One of torchvision's classifiers with the weights of `file`, a state dict, in eval mode.

    Raises:
        SettingsError: an architecture that torchvision does not have.
        WeightsError: a file that is no state dict of it.
    """
    import torchvision

    if architecture not in torchvision.models.list_models(module=torchvision.models):
        raise SettingsError(f"torchvision has no classifier {architecture!r}; see torchvision.models")
    state = read_state_dict(file)
    try:
        bias = [tensor for name, tensor in state.items() if name.endswith("bias")][-1]  # of the classifier
        network = torchvision.models.get_model(architecture, weights=None, num_classes=len(bias))
        network.load_state_dict(state)
    except (IndexError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise WeightsError(f"{file}: is no state dict of torchvision's {architecture} ({reason})") from None
    return network.eval()


@torch.inference_mode()
def teach(
    file: Path, architecture: str, batches: ImageBatches, size: int, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (places (n,), logits (n, K) float16) over all readable pictures: the mean of a picture and its mirror.

    Pictures are scaled to size×size and normalised as torchvision's models take them.
    """
    network = load_teacher(file, architecture).to(device).to(memory_format=torch.channels_last)
    mean, std = (torch.tensor(values, device=device).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    for key in sequential_batches(len(batches.pictures), BATCH):
        batch = batches[key]
        images = F.interpolate(batch.images.to(device).float(), (size, size), mode="bicubic", align_corners=False)
        images = ((images.clamp(0, 255) - mean) / std).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16):
            logits = network(images) + network(images.flip(3))
        yield batch.places, (logits.float() / 2).half().cpu()


def teacher_logits(
    file: Path, architecture: str, batches: ImageBatches, size: int, device: torch.device, kept: Path
) -> Tensor:
    """(N, K) float16, what the teacher says of every picture of the split; zeros where one cannot be read.

    They are computed once, with a progress bar, and kept in the file `kept` for a run that is resumed.
    """
    from safetensors import safe_open
    from safetensors.torch import save

    names = "\n".join(str(path.name) for path in batches.pictures.files)
    key = hashlib.sha256(f"{architecture} {size} {names}".encode() + file.read_bytes()).hexdigest()
    if kept.is_file():
        with safe_open(kept, "pt") as stored:
            if (stored.metadata() or {}).get("key") == key:
                return stored.get_tensor("logits")
    logits: Tensor | None = None
    with progress_bar("teacher", len(batches.pictures)) as advance:
        for places, said in teach(file, architecture, batches, size, device):
            if logits is None:
                logits = torch.zeros(len(batches.pictures), said.shape[1], dtype=torch.float16)
            logits[places] = said
            advance(len(places))
    assert logits is not None
    kept.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(kept) as aside:
        aside.write_bytes(save({"logits": logits}, {"key": key}))
    return logits


def distillation_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Cross-entropy between a teacher's softened predictions and a student's, times T², less what none can undercut.

    That is the Kullback-Leibler divergence: 0 where they agree. T² keeps its gradient's size beside the labels' loss.

    Args:
        student: (N, K) logits.
        teacher: (N, K) probabilities at that temperature.
    """
    log_p = F.log_softmax(student / temperature, 1)
    return F.kl_div(log_p, teacher, reduction="batchmean") * temperature**2


@contextmanager
def classifier_input(network: nn.Module) -> Iterator[list[Tensor]]:
    """Collect what goes into a network's last linear layer: (N, F) features, one tensor a forward pass."""
    (*_, last) = (module for module in network.modules() if isinstance(module, nn.Linear))
    seen: list[Tensor] = []
    handle = last.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        yield seen
    finally:
        handle.remove()
