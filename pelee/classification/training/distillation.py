"""Knowledge distillation from a torchvision classifier: the teacher's logits of all training images, and the loss.

Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015, section 2. The teacher classifies each
image once before the training, uncropped and with its mirror image; on a CPU this costs a fraction of classifying
every crop. Its classes may differ from the student's: during training the student has a second linear layer for the
teacher's classes.
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

BATCH = 250  # images per batch of the teacher


def load_teacher(file: Path, architecture: str) -> nn.Module:
    """Load a torchvision classifier with the weights of `file`, a state dict, in eval mode.

    Raises:
        SettingsError: torchvision has no such architecture.
        WeightsError: the file is no state dict of that architecture.
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
def predict_logits(
    file: Path, architecture: str, batches: ImageBatches, size: int, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (places (n,), logits (n, K) float16) over all readable images: the mean of an image and its mirror image.

    Images are resized to size×size and normalized with torchvision's mean and standard deviation.
    """
    network = load_teacher(file, architecture).to(device).to(memory_format=torch.channels_last)
    mean, std = (torch.tensor(values, device=device).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    for key in sequential_batches(len(batches.dataset), BATCH):
        batch = batches[key]
        images = F.interpolate(batch.images.to(device).float(), (size, size), mode="bicubic", align_corners=False)
        images = ((images.clamp(0, 255) - mean) / std).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16):
            logits = network(images) + network(images.flip(3))
        yield batch.places, (logits.float() / 2).half().cpu()


def teacher_logits(
    file: Path, architecture: str, batches: ImageBatches, size: int, device: torch.device, cache: Path
) -> Tensor:
    """The teacher's logits of all images of the split, (N, K) float16; zeros where an image cannot be read.

    They are computed once, with a progress bar, and stored in the file `cache` for a resumed run.
    """
    from safetensors import safe_open
    from safetensors.torch import save

    names = "\n".join(str(path.name) for path in batches.dataset.files)
    key = hashlib.sha256(f"{architecture} {size} {names}".encode() + file.read_bytes()).hexdigest()
    if cache.is_file():
        with safe_open(cache, "pt") as stored:
            if (stored.metadata() or {}).get("key") == key:
                return stored.get_tensor("logits")
    logits: Tensor | None = None
    with progress_bar("teacher", len(batches.dataset)) as advance:
        for places, predicted in predict_logits(file, architecture, batches, size, device):
            if logits is None:
                logits = torch.zeros(len(batches.dataset), predicted.shape[1], dtype=torch.float16)
            logits[places] = predicted
            advance(len(places))
    assert logits is not None
    cache.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(cache) as temporary:
        temporary.write_bytes(save({"logits": logits}, {"key": key}))
    return logits


def distillation_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Kullback-Leibler divergence of a student's softened predictions from a teacher's, times T²; 0 where they agree.

    T² keeps the gradient's magnitude comparable to that of the labels' loss.

    Args:
        student: (N, K) logits.
        teacher: (N, K) probabilities at the same temperature.
    """
    log_p = F.log_softmax(student / temperature, 1)
    return F.kl_div(log_p, teacher, reduction="batchmean") * temperature**2


@contextmanager
def classifier_input(network: nn.Module) -> Iterator[list[Tensor]]:
    """Context manager that collects the inputs of the last linear layer: (N, F), one tensor per forward pass."""
    (*_, last) = (module for module in network.modules() if isinstance(module, nn.Linear))
    features: list[Tensor] = []
    handle = last.register_forward_pre_hook(lambda _, inputs: features.append(inputs[0]))
    try:
        yield features
    finally:
        handle.remove()
