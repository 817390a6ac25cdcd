"""Training on from other weights: which of a network's tensors stay as they are, and which move at which rate."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from data.errors import SettingsError


@dataclass(frozen=True)
class Parts:
    """The tensors of a network's state dict by what becomes of them; each name stands in one of the sets.

    frozen: they stay as they are; pretrained: taken from other weights, and trained; new: everything else.
    """

    frozen: frozenset[str]
    pretrained: frozenset[str]
    new: frozenset[str]


def split(
    network: nn.Module, taken: Collection[str], freeze: bool, unfreeze_from: str | None, input_size: int
) -> Parts:
    """What trains and what does not; what was not taken from other weights always trains.

    Args:
        taken: names of tensors, what `pelee.models.pretrained.transfer` filled.
        freeze: hold all of these.
        unfreeze_from: hold them only as far as the module of this name: it and all that a picture meets after it train.
        input_size: side in pixels of a picture that the network takes.

    Raises:
        SettingsError: something to hold where nothing was taken, a name that no module with tensors has, or nothing
            that trains.
    """
    if (freeze or unfreeze_from) and not taken:
        raise SettingsError("freeze and unfreeze_from hold what comes from other weights; name them by --weights")
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
    return Parts(frozen, pretrained, frozenset(network.state_dict()) - frozen - pretrained)


def tensors_in_order(network: nn.Module, input_size: int) -> list[str]:
    """Names of a network's tensors in the order in which a picture meets their modules; those it does not meet last.

    Modules need not be registered in that order: PeleeNet's transitions come after all of its stages.
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
    """Take the gradient of frozen parameters away.

    Returns:
        The modules with frozen tensors only. In training they must stay in eval mode, for else batch norms would
        normalise by the batch and move their running statistics.
    """
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name not in frozen)
    return [module for name, module in network.named_modules() if _holds_only(module, name, frozen)]


def _holds_only(module: nn.Module, name: str, frozen: Collection[str]) -> bool:
    inside = [f"{name}.{own}" if name else own for own in module.state_dict()]
    return bool(inside) and all(one in frozen for one in inside)


def parameter_groups(
    module: nn.Module, pretrained: Iterable[nn.Parameter], lr: float, pretrained_lr: float
) -> list[dict[str, Any]]:
    """The optimiser's groups of a module's parameters: the pretrained ones at `lr` × `pretrained_lr`, the new at `lr`.

    What is frozen is in neither.
    """
    slow = {id(parameter) for parameter in pretrained}
    training = [parameter for parameter in module.parameters() if parameter.requires_grad]
    groups = [
        {"params": [parameter for parameter in training if id(parameter) in slow], "lr": lr * pretrained_lr},
        {"params": [parameter for parameter in training if id(parameter) not in slow], "lr": lr},
    ]
    return [group for group in groups if group["params"]]


def summary(network: nn.Module, parts: Parts, pretrained_lr: float) -> str:
    """One line: how many parameters of a network train, as new or pretrained ones, and how many are frozen."""
    sizes = {name: parameter.numel() for name, parameter in network.named_parameters()}

    def count(names: Collection[str]) -> str:
        inside = [size for name, size in sizes.items() if name in names]
        return f"{sum(inside):,} parameters in {len(inside)} tensors"

    slower = f" at {pretrained_lr:g} of the rate" if pretrained_lr != 1 else ""
    kinds = ((parts.new, " new"), (parts.pretrained, f" pretrained{slower}"))
    training = ", ".join(count(names) + kind for names, kind in kinds if names)
    return f"trains: {training}" + (f"; frozen: {count(parts.frozen)}" if parts.frozen else "")
