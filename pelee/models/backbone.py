"""Backbones below a detector head: the protocol, and networks of timm and torchvision with feature maps."""

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from data.errors import SettingsError
from pelee.models.layers import IMAGENET_MEAN, IMAGENET_STD, Normalize

STRIDES = (8, 16, 32)
PROBE_SIZE = 80  # pixels; maps of 10, 5 and 3 cells where poolings round up
UNFIT = (
    "Of torchvision, AlexNet, ConvNeXt, Inception, MaxViT, SqueezeNet, Swin and ViT do not fit; take one of its "
    "densenet, efficientnet, mnasnet, mobilenet, regnet, resnet, shufflenet or vgg networks, or one of timm"
)


class Backbone(Protocol):
    """Feature extractor; an `nn.Module` with the input's normalization inside.

    Attributes:
        feature_channels: channels of the maps of `features`.
        strides: input pixels per cell of the maps, ascending; the last two are 16 and 32.
    """

    @property
    def feature_channels(self) -> tuple[int, ...]: ...

    @property
    def strides(self) -> tuple[int, ...]: ...

    def features(self, images: Tensor) -> list[Tensor]:
        """Feature maps (N, C, ceil(H / stride), ceil(W / stride)) of images (N, 3, H, W) RGB in 0 to 255."""
        ...


class LibraryBackbone(nn.Module):
    """Feature extractor of timm, or of torchvision where timm has no network of that name; with random weights.

    The maps are the last ones of stride 8 (if there is one), 16 and 32; 2×2 poolings round up. Images are normalized
    with the statistics of ImageNet, as for the published weights of most networks of both libraries.

    Raises:
        SettingsError: an unknown name, or a network without maps of strides 16 and 32, rounded up.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.normalize = Normalize(IMAGENET_MEAN, IMAGENET_STD)
        self.network, self.feature_channels, self.strides = _timm_maps(name) or _torchvision_maps(name)
        if self.strides[-2:] != STRIDES[-2:]:
            shown = ", ".join(map(str, self.strides)) or "none"
            raise SettingsError(f"{name} has feature maps of strides: {shown}; a detector needs 16 and 32. {UNFIT}")
        try:
            cells = _probe(self.network)
        except (AssertionError, RuntimeError, ValueError):
            raise SettingsError(f"{name} does not take an input of {PROBE_SIZE} pixels. {UNFIT}") from None
        wanted = [-(-PROBE_SIZE // stride) for stride in self.strides]
        if cells != wanted:
            raise SettingsError(
                f"{name} gives maps of {cells} cells for {PROBE_SIZE} pixels, expected {wanted}: its convolutions or "
                f"poolings do not round up. {UNFIT}"
            )

    def features(self, images: Tensor) -> list[Tensor]:
        """See `Backbone.features`."""
        return list(self.network(self.normalize(images)))


Maps = tuple[nn.Module, tuple[int, ...], tuple[int, ...]]
"""A network that returns feature maps, their channels and their strides."""


def _timm_maps(name: str) -> Maps | None:
    import timm

    if not timm.is_model(name):
        return None
    try:
        info: Any = timm.create_model(name, pretrained=False, features_only=True).feature_info
        strides = info.reduction()
        chosen = [len(strides) - 1 - strides[::-1].index(stride) for stride in STRIDES if stride in strides]
        network = timm.create_model(name, pretrained=False, features_only=True, out_indices=chosen)
    except (AttributeError, RuntimeError, TypeError, AssertionError) as error:
        raise SettingsError(f"{name} of timm has no feature maps ({str(error).splitlines()[0]})") from None
    channels = info.channels()
    _round_up(network)
    return network, tuple(channels[index] for index in chosen), tuple(strides[index] for index in chosen)


def _torchvision_maps(name: str) -> Maps:
    """Trace the network in eval mode and cut it after its maps, without stochastic depth.

    The map of a stride is the output of the last block of that stride, not the expansion inside the block that halves
    it.
    """
    import torchvision
    from torch.fx import symbolic_trace
    from torch.fx.passes.shape_prop import ShapeProp

    from data.errors import did_you_mean

    known = torchvision.models.list_models(torchvision.models)
    if name not in known:
        import timm

        hint = did_you_mean(name, [*known, *timm.list_models()]) or "see timm.list_models()"
        raise SettingsError(f"no backbone {name!r} in timm or torchvision; {hint}")
    network = torchvision.models.get_model(name, weights=None).eval()
    _round_up(network)
    try:
        halving = _halving_modules(network)
        traced = symbolic_trace(network)
        ShapeProp(traced).propagate(torch.zeros(1, 3, PROBE_SIZE, PROBE_SIZE))
    except (AssertionError, RuntimeError, ValueError):
        raise SettingsError(f"{name} does not take an input of {PROBE_SIZE} pixels. {UNFIT}") from None
    last: dict[int, tuple[torch.fx.Node, int]] = {}  # stride -> node and channels of its last map
    for node in traced.graph.nodes:
        shape: tuple[int, ...] = getattr(node.meta.get("tensor_meta"), "shape", ())
        inside = [module for module, _ in node.meta.get("nn_module_stack", {}).values()]
        for stride in STRIDES:
            cells = -(-PROBE_SIZE // stride)
            in_a_block = any(halving.get(module) == cells for module in inside)
            if len(shape) == 4 and shape[2] == shape[3] == cells and not in_a_block:
                last[stride] = (node, shape[1])
    strides = tuple(sorted(last))
    (output,) = traced.graph.find_nodes(op="output")
    output.args = (tuple(last[stride][0] for stride in strides),)
    traced.graph.eliminate_dead_code()
    traced.recompile()
    traced.delete_all_unused_submodules()
    return traced, tuple(last[stride][1] for stride in strides), strides


def _round_up(network: nn.Module) -> None:
    """Let poolings of 2×2 cells without padding round up, as convolutions with padding do: 19 cells to 10, not to 9.

    It changes no tensor, and nothing at sides that are multiples of 32.
    """
    for module in network.modules():
        if isinstance(module, nn.AvgPool2d | nn.MaxPool2d):
            shape = [one if isinstance(one, tuple) else (one, one) for one in (module.kernel_size, module.stride)]
            if shape == [(2, 2), (2, 2)] and module.padding in (0, (0, 0)):
                module.ceil_mode = True


@torch.no_grad()
def _halving_modules(network: nn.Module) -> dict[str, int]:
    """Side in cells of the input of each module, by name, whose output is a map of another side."""
    sides: dict[str, int] = {}

    def note(name: str, inputs: tuple[Any, ...], output: Any) -> None:
        maps = [one for one in (*inputs[:1], output) if isinstance(one, Tensor) and one.ndim == 4]
        if len(maps) == 2 and maps[0].shape[-1] != maps[1].shape[-1]:
            sides[name] = maps[0].shape[-1]

    handles = [
        module.register_forward_hook(lambda _, inputs, output, name=name: note(name, inputs, output))
        for name, module in network.named_modules()
    ]
    network(torch.zeros(1, 3, PROBE_SIZE, PROBE_SIZE))
    for handle in handles:
        handle.remove()
    return sides


@torch.no_grad()
def _probe(network: nn.Module) -> list[int]:
    """Sides of the maps of a square input of `PROBE_SIZE` pixels, in cells; leaves the network in training mode."""
    maps = network.eval()(torch.zeros(1, 3, PROBE_SIZE, PROBE_SIZE))
    network.train()
    return [feature_map.shape[-1] for feature_map in maps]
