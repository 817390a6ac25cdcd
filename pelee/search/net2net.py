"""Net2Net: function-preserving growth of a PeleeNet into a wider or deeper one.

Source: Chen, Goodfellow, Shlens, "Net2Net: Accelerating Learning via Knowledge Transfer", ICLR 2016
(arXiv 1511.05641), here for dense blocks. A new layer of a dense block only adds channels after the existing ones, so
that one rule serves stem, growth, bottlenecks, transitions and new layers: new channels read all inputs (random
weights) but contribute nothing to existing outputs (zero weights). The zero weights have gradients from the first step
on, through which the new channels learn; their random initialization makes them differ from one another. Batch norm
treats each channel separately: the two functions are equal in training mode as well, except for dropout.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from data.errors import SettingsError
from pelee.models.peleenet import DenseLayer, PeleeNet, PeleeNetConfig, TwoBranchStem


def grow(parent: PeleeNet, config: PeleeNetConfig) -> PeleeNet:
    """A network of a wider or deeper design with its parent's logits, data type and mode.

    Raises:
        SettingsError: the design does not extend the parent's.
    """
    head, weight = _linear(parent), next(parent.parameters())
    child = PeleeNet(head.out_features, config).to(weight.device, weight.dtype)
    morph(parent, child)
    return child.train(parent.training)


def extends(parent: PeleeNetConfig, child: PeleeNetConfig) -> bool:
    """Whether a network of design `parent` can grow into one of design `child`, and the designs differ."""
    try:
        _check(parent, child)  # quick; rejects most pairs
        small, large = PeleeNet(1, parent), PeleeNet(1, child)
        morph(small, large)
    except SettingsError:
        return False
    return sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in large.parameters())


@torch.no_grad()
def morph(parent: PeleeNet, child: PeleeNet) -> None:
    """Give the child its parent's function, in place; additional channels keep their random weights.

    Raises:
        SettingsError: the child is narrower or shallower somewhere, or of another kind.
    """
    _check(parent.config, child.config)
    at = _stem(parent.stem, child.stem)
    for index in range(len(parent.stages)):
        # the child's additional layers follow these: new channels, which no existing output reads
        for layer, wider in zip(_layers(parent, index), _layers(child, index), strict=False):
            at = _dense(layer, wider, at)
        at = _unit(parent.transitions[index], child.transitions[index], at)
    old, new = _linear(parent), _linear(child)
    new.weight.zero_()
    new.weight[:, at] = old.weight
    new.bias.copy_(old.bias)


def _check(parent: PeleeNetConfig, child: PeleeNetConfig) -> None:
    """Check the designs before networks are built; the widths of the convolutions are checked in `_unit`."""
    same = all(getattr(parent, name) == getattr(child, name) for name in ("stem", "activation"))
    deep = len(parent.blocks) == len(child.blocks) and all(map(int.__le__, parent.blocks, child.blocks))
    wide = parent.growth_rate // (1 + parent.two_way) <= child.growth_rate // (1 + child.two_way)
    if not (same and deep and wide and parent.two_way <= child.two_way):
        raise SettingsError(f"{child} does not extend {parent}: it must be as deep and as wide everywhere")


# Each of the following functions fills one part of the child. `at` holds the indices of the parent's channels among the
# child's, in the parent's order: of the input as the argument, of the output as the result.
def _stem(old: nn.Module, new: nn.Module) -> Tensor:
    at = torch.arange(3)
    if isinstance(old, TwoBranchStem) and isinstance(new, TwoBranchStem):
        at = _unit(old.stem1, new.stem1, at)
        branch = _unit(old.stem2b, new.stem2b, _unit(old.stem2a, new.stem2a, at))
        at = torch.cat([at, branch + _parts(new.stem1)[0].out_channels])
        return _unit(old.stem3, new.stem3, at)
    return _unit(old[0], new[0], at) if isinstance(old, nn.Sequential) and isinstance(new, nn.Sequential) else at


def _dense(old: DenseLayer, new: DenseLayer, at: Tensor) -> Tensor:
    """The output is the input, then the channels of the first branch, then those of the second."""
    offset = _parts(new.branch1[0])[0].in_channels
    out = [at]
    for before, after in ((old.branch1, new.branch1), (old.branch2, new.branch2)):
        if before is not None and after is not None:
            branch = at
            for unit, wider in zip(before, after, strict=True):
                branch = _unit(unit, wider, branch)
            out.append(branch + offset)
            offset += _parts(after[-1])[0].out_channels
    return torch.cat(out)


def _unit(old: nn.Module, new: nn.Module, at: Tensor) -> Tensor:
    """The parent's outputs are the first of the child's, and read only the parent's inputs."""
    (conv, norm), (wide, wide_norm) = _parts(old), _parts(new)
    if wide.out_channels < conv.out_channels or wide.in_channels < conv.in_channels:
        raise SettingsError(
            f"a convolution of {wide.in_channels} to {wide.out_channels} channels does not extend one of "
            f"{conv.in_channels} to {conv.out_channels}"
        )
    outputs = torch.arange(conv.out_channels)
    wide.weight[outputs] = 0
    wide.weight[outputs[:, None], at] = conv.weight
    if conv.bias is not None and wide.bias is not None:
        wide.bias[outputs] = conv.bias
    normed = outputs if next(old.children()) is conv else at
    for name in ("weight", "bias", "running_mean", "running_var"):
        getattr(wide_norm, name)[normed] = getattr(norm, name)
    return outputs


def _parts(unit: nn.Module) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    """A unit's convolution and its batch norm, whichever comes first."""
    conv = next(module for module in unit.modules() if isinstance(module, nn.Conv2d))
    return conv, next(module for module in unit.modules() if isinstance(module, nn.BatchNorm2d))


def _layers(network: PeleeNet, stage: int) -> Iterator[DenseLayer]:
    return iter(network.stages[stage])  # type: ignore[call-overload]


def _linear(network: PeleeNet) -> nn.Linear:
    if network.classifier is None:
        raise SettingsError("a PeleeNet without a classifier has no logits to keep")
    return next(module for module in network.classifier.modules() if isinstance(module, nn.Linear))
