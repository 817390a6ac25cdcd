"""Fine-tuning: partition of a network's tensors into frozen, pretrained and new ones, and their learning rates."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from data.errors import SettingsError


@dataclass(frozen=True)
class ParameterPartition:
    """Partition of the names in a network's state dict.

    Attributes:
        frozen: unchanged by the training.
        pretrained: taken from other weights, and trained.
        new: all others.
    """

    frozen: frozenset[str]
    pretrained: frozenset[str]
    new: frozenset[str]


def partition_parameters(
    network: nn.Module, taken: Collection[str], freeze: bool, unfreeze_from: str | None, input_size: int
) -> ParameterPartition:
    """Partition a network's tensors; those not taken from other weights always train.

    Args:
        network: the network.
        taken: names of the tensors filled by `pelee.models.pretrained.load_partial`.
        freeze: freeze all of these.
        unfreeze_from: freeze them only up to the module of this name: it and all modules after it train.
        input_size: side of the network's input in pixels.

    Raises:
        SettingsError: freezing where nothing was taken, a name of no module with tensors, or nothing left to train.
    """
    if (freeze or unfreeze_from) and not taken:
        raise SettingsError(
            "freeze and unfreeze_from hold what comes from other weights; name them by --weights or --backbone"
        )
    held: Collection[str] = taken if freeze else ()
    if unfreeze_from:
        names = tensors_in_order(network, input_size)
        first = next((place for place, name in enumerate(names) if name.startswith(f"{unfreeze_from}.")), None)
        if first is None:
            known = ", ".join(dict.fromkeys(name.partition(".")[0] for name in names))
            raise SettingsError(
                f"unfreeze_from: the network has no weights in a module {unfreeze_from!r}; name one of {known}, or one "
                f"inside them, as {names[0].rpartition('.')[0]}"
            )
        held = names[:first]
    frozen = frozenset(held).intersection(taken)
    if all(name in frozen for name, _ in network.named_parameters()):
        raise SettingsError(
            "freeze: every parameter comes from the weights, so that nothing would train; take unfreeze_from, or leave "
            "it out"
        )
    pretrained = frozenset(taken) - frozen
    return ParameterPartition(frozen, pretrained, frozenset(network.state_dict()) - frozen - pretrained)


def tensors_in_order(network: nn.Module, input_size: int) -> list[str]:
    """Return the names of a network's tensors in the order of the forward pass; those of unused modules come last.

    The order of registration may differ: PeleeNet's transitions are registered after all of its stages.
    """
    met: list[str] = []
    handles = [
        module.register_forward_pre_hook(lambda *_, name=name: met.append(name))
        for name, module in network.named_modules()
    ]
    training = network.training
    try:
        with torch.inference_mode():
            network.eval()(torch.zeros(1, 3, input_size, input_size))
    finally:
        network.train(training)
        for handle in handles:
            handle.remove()
    places = {name: place for place, name in reversed(list(enumerate(met)))}
    return sorted(network.state_dict(), key=lambda name: places.get(name.rpartition(".")[0], len(met)))


def freeze(network: nn.Module, frozen: Collection[str]) -> list[nn.Module]:
    """Set `requires_grad` to False for frozen parameters.

    Returns:
        The modules with frozen tensors only. They must stay in eval mode during training: otherwise batch norms would
        normalize by the batch and update their running statistics.
    """
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name not in frozen)
    return [module for name, module in network.named_modules() if _holds_only(module, name, frozen)]


def _holds_only(module: nn.Module, name: str, frozen: Collection[str]) -> bool:
    inside = [f"{name}.{own}" if name else own for own in module.state_dict()]
    return bool(inside) and all(one in frozen for one in inside)


def parameter_groups(
    module: nn.Module,
    pretrained: Iterable[nn.Parameter],
    lr: float,
    pretrained_lr: float,
    backbone: Iterable[nn.Parameter] = (),
    backbone_lr: float = 1.0,
) -> list[dict[str, Any]]:
    """Return the optimizer's groups of a module's trainable parameters, the ones with the full rate last.

    Args:
        module: the module; frozen parameters are in no group.
        pretrained: parameters with the rate `lr` × `pretrained_lr`.
        lr: rate of all others.
        pretrained_lr: factor of the pretrained parameters.
        backbone: parameters whose rate is multiplied by `backbone_lr` as well; they are in groups of their own.
        backbone_lr: factor of the backbone.
    """
    slow = {id(parameter) for parameter in pretrained}
    in_backbone = {id(parameter) for parameter in backbone}
    groups: dict[tuple[bool, bool], dict[str, Any]] = {
        (inner, taken): {"params": [], "lr": lr * (backbone_lr if inner else 1) * (pretrained_lr if taken else 1)}
        for inner in (True, False)
        for taken in (True, False)
    }
    for parameter in module.parameters():
        if parameter.requires_grad:
            groups[id(parameter) in in_backbone, id(parameter) in slow]["params"].append(parameter)
    return [group for group in groups.values() if group["params"]]


def summary(network: nn.Module, partition: ParameterPartition, pretrained_lr: float) -> str:
    """Return a line with the number of parameters that train, as new or pretrained ones, and of frozen ones."""
    sizes = {name: parameter.numel() for name, parameter in network.named_parameters()}

    def count(names: Collection[str]) -> str:
        inside = [size for name, size in sizes.items() if name in names]
        return f"{sum(inside):,} parameters in {len(inside)} tensors"

    slower = f" at {pretrained_lr:g} of the rate" if pretrained_lr != 1 else ""
    kinds = ((partition.new, " new"), (partition.pretrained, f" pretrained{slower}"))
    training = ", ".join(count(names) + kind for names, kind in kinds if names)
    return f"trains: {training}" + (f"; frozen: {count(partition.frozen)}" if partition.frozen else "")
