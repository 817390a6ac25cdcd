"""Weight initialization of networks."""

from typing import Literal

from torch import nn

from data.errors import SettingsError


def check_share(name: str, value: float) -> float:
    """The value, a share or probability; SettingsError outside 0 to 1."""
    if not 0 <= value <= 1:
        raise SettingsError(f"{name} is {value}; expected 0 to 1")
    return value


def initialize(network: nn.Module) -> None:
    """Normal initialization of every convolution by what goes out of it (He et al. 2015), biases at zero."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            # Of a depthwise one PyTorch's fan-out counts all groups' outputs; its fan-in is the fan-out of one.
            mode: Literal["fan_in", "fan_out"] = "fan_in" if module.groups > 1 else "fan_out"
            nn.init.kaiming_normal_(module.weight, mode=mode, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
