"""Pretrained weights: load all tensors of a model file, or those that fit a network."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from data.datasets.class_names import ClassMatch, match_classes
from data.errors import WeightsError
from weights.store import ModelFile, load_tensors, resolve


def load_strict(network: nn.Module, model: ModelFile) -> None:
    """Load a model file's weights, verified, into the network that its card describes.

    Raises:
        WeightsError: a tensor that is missing, left over or of another shape, besides what `load_tensors` raises.
    """
    tensors = load_tensors(model)
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    for name, shape in wanted.items():
        if name not in tensors:
            raise WeightsError(f"{model.path} lacks the tensor {name}; the card describes another network")
        if tensors[name].shape != shape:
            raise WeightsError(
                f"{model.path}: tensor {name} is {tensors[name].shape}, expected {shape} for "
                f"{len(model.card.class_names)} classes; the card and the weights do not fit"
            )
    if extra := sorted(set(tensors) - set(wanted)):
        raise WeightsError(f"{model.path} has a tensor {extra[0]} that the card's network lacks")
    network.load_state_dict({name: torch.from_numpy(tensor) for name, tensor in tensors.items()})


@dataclass(frozen=True)
class PartialLoad:
    """Result of `load_partial`: the tensors that a module took from other weights.

    taken: names of the tensors that were loaded. replaced: those of another shape in the weights, left as they were.
    missing: those that the weights lack. unused: names in the weights that the module lacks.
    """

    taken: list[str]
    replaced: list[str]
    missing: list[str]
    unused: list[str]

    def __str__(self) -> str:
        lines = [f"took {len(self.taken)} tensors"]
        for word, names in (
            ("replaced (another shape)", self.replaced),
            ("new (not in the weights)", self.missing),
            ("left (no place for them)", self.unused),
        ):
            if names:
                modules = sorted({name.rpartition(".")[0] for name in names})
                shown = ", ".join(modules[:8]) + (f" and {len(modules) - 8} more" if len(modules) > 8 else "")
                lines.append(f"{word}: {len(names)} tensors of {shown}")
        return "; ".join(lines)


def load_partial(module: nn.Module, tensors: Mapping[str, np.ndarray]) -> PartialLoad:
    """Load every tensor of a module that `tensors` contains by the same name and shape.

    Raises:
        WeightsError: no tensor fits.
    """
    state = module.state_dict()
    taken = [name for name in state if name in tensors and tensors[name].shape == tuple(state[name].shape)]
    if not taken:
        raise WeightsError("the weights to start from do not fit: no tensor has a name and shape of this network's")
    module.load_state_dict({name: torch.from_numpy(tensors[name]) for name in taken}, strict=False)
    return PartialLoad(
        taken,
        [name for name in state if name in tensors and name not in set(taken)],
        [name for name in state if name not in tensors],
        [name for name in tensors if name not in state],
    )


def read_state_dict(file: Path) -> dict[str, Tensor]:
    """Read the tensors of a foreign state dict (`.pth`) by name, with `weights_only=True`, on the CPU.

    Names inside the layers of torchvision's first DenseNets, as in the weights that it publishes still (`norm.1`), are
    those of today (`norm1`).

    Raises:
        WeightsError: no file, or no state dict.
    """
    if not file.is_file():
        raise WeightsError(f"{file}: no such file, expected a state dict (.pth)")
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling raises whatever it likes
        raise WeightsError(f"{file}: is no state dict ({unpickling_reason(error)})") from None
    if not isinstance(state, dict) or not state or not all(isinstance(each, Tensor) for each in state.values()):
        raise WeightsError(f"{file}: is no state dict; expected tensors by name, as torch.save(network.state_dict())")
    return {re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2.", name): each for name, each in state.items()}


def unpickling_reason(error: Exception) -> str:
    """Reason why `torch.load` with `weights_only=True` failed, in a few words, without its advice to run the code."""
    text = str(error).strip()
    if named := re.search(r"GLOBAL (\S+) (?:was|whose) ", text):
        return f"it names {named[1]}, which is code and no tensor"
    if "Weights only load failed" in text:
        return "it holds other objects than tensors, or is damaged"
    first = (text.splitlines() or [type(error).__name__])[0]
    return first.partition(". ")[0].rstrip(".")


def read_weights(file: Path, network: nn.Module) -> dict[str, np.ndarray]:
    """Read a foreign state dict's arrays by the names that they have in `network`, for `load_partial`.

    Those of torchvision and timm lack the prefix `network.` of `pelee.models.torchvision_timm`. What they were
    trained with goes into the settings: torchvision's classifiers take `IMAGENET_MEAN` and `IMAGENET_STD` as
    normalization, its Inception V3 and timm's NASNet-A 127.5 for both.

    Raises:
        WeightsError: as `read_state_dict`.
    """
    inside = {name.removeprefix("network."): name for name in network.state_dict()}
    return {
        inside.get(name, name): (tensor.float() if tensor.is_floating_point() else tensor).detach().numpy()
        for name, tensor in read_state_dict(file).items()
    }


def is_state_dict(source: str) -> bool:
    """Return whether a name is that of a library's state dict, not of a model of this project."""
    return source.endswith(".pth")


@dataclass(frozen=True)
class ClassRows:
    """Tensors of a network whose first axis is its classes: groups of `background + classes` rows.

    Attributes:
        tensors: their names in the state dict.
        class_names: names of the classes, by label.
        background: rows of a group before the first class: 1 for a detector, 0 for a classifier.
    """

    tensors: tuple[str, ...]
    class_names: tuple[str, ...]
    background: int = 0

    def match(
        self, state: Mapping[str, Tensor], tensors: Mapping[str, np.ndarray], match: ClassMatch, old_classes: int
    ) -> dict[str, np.ndarray]:
        """Return tensors of other weights with the rows of the classes at the places that they have in the network.

        Rows of classes that the weights lack are the network's own. Without a common class the tensors are left out.
        A detector's weights may have more rows of background than the network (torchvision's for COCO have eleven), of
        which the first ones are taken.

        Args:
            state: the network's state dict.
            tensors: the weights.
            match: of the network's classes with those of the weights.
            old_classes: number of classes of the weights.
        """
        found = dict(tensors)
        labels = [label for label in match.old_labels if label >= 0]
        here = [*range(self.background), *(self.background + i for i, old in enumerate(match.old_labels) if old >= 0)]
        rows = self.background + len(self.class_names)
        for name in self.tensors:
            if name not in tensors:
                continue
            old_rows, rest = divmod(len(tensors[name]) * rows, len(state[name]))
            old_background = old_rows - old_classes
            fits = old_background >= self.background if self.background else old_background == 0
            if rest or not fits:
                continue
            there = [*range(self.background), *(old_background + label for label in labels)]
            if not labels:
                del found[name]
                continue
            new = state[name].numpy(force=True).copy()
            grouped = new.reshape(-1, rows, *new.shape[1:])
            grouped[:, here] = tensors[name].reshape(-1, old_rows, *new.shape[1:])[:, there]
            found[name] = new
        return found


def load_pretrained(module: nn.Module, source: str, classes: ClassRows | None = None) -> tuple[str, list[str]]:
    """Load the tensors of other weights that fit a network, and print their names.

    Args:
        module: the network.
        source: a shipped model's name, a model's folder, or torchvision's or timm's state dict (.pth).
        classes: tensors whose rows are matched by class name, for a model with a card.

    Returns:
        The weights' name and SHA-256, as on a card, and the names of the tensors that were filled; not those with rows
        of classes that are new.

    Raises:
        WeightsError: there is no such thing, it is damaged, or nothing of it fits.
    """
    new: tuple[str, ...] = ()
    if is_state_dict(source):
        file = Path(source)
        tensors: Mapping[str, np.ndarray] = read_weights(file, module)
        name, digest = file.name, hashlib.sha256(file.read_bytes()).hexdigest()
    else:
        model = resolve(source)
        name, digest, tensors = model.card.name, model.card.sha256, load_tensors(model)
        if classes is not None:
            match = match_classes(classes.class_names, model.card.class_names)
            tensors = classes.match(module.state_dict(), tensors, match, len(model.card.class_names))
            new = classes.tensors if match.added else ()
            for line in match.lines("the dataset", name):
                print(line)
    transferred = load_partial(module, tensors)
    print(f"from {name} ({digest[:12]}): {transferred}")
    return f"{name}, SHA-256 {digest}", [one for one in transferred.taken if one not in new]


def last_layer(network: nn.Module, num_classes: int) -> tuple[str, ...]:
    """Return the names of the tensors of a classifier's last linear layer or convolution with an output per class."""
    layers = [
        name
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Linear | nn.Conv2d) and layer.weight.shape[0] == num_classes
    ]
    return tuple(name for name in network.state_dict() if layers and name.rpartition(".")[0] == layers[-1])


def as_tuples(value: Any) -> Any:
    """Convert the lists of JSON to the tuples of a config."""
    if isinstance(value, dict):
        return {key: as_tuples(inner) for key, inner in value.items()}
    return tuple(as_tuples(inner) for inner in value) if isinstance(value, list) else value
