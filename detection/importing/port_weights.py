"""Pelee's weights of the public PyTorch ports: names of their layers, their tensors in `detection.models.pelee_port`.

Source of the names: github.com/yxlijun/Pelee.Pytorch, `peleenet.py`. The ports read images with OpenCV, so that the
first convolution's channels, BGR there, are reversed to RGB. Files do not state their priors.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from torch import Tensor

from data.errors import SettingsError, WeightsError
from detection.models.pelee_port import COCO_SIZES, EXTRAS, HEADS, VOC_SIZES, PeleePort, PeleePortConfig
from detection.models.priors import PRIORS_PER_CELL
from detection.models.registry import ARCHITECTURES
from pelee.importing.peleenet_weights import unit_names

FIRST_HEAD = "conf.0.weight"
FIRST_LAYER = "backbone.stem.stem1.0.weight"
PRIOR_SIZES = {"voc": VOC_SIZES, "coco": COCO_SIZES}
USUAL_PRIORS = {20: "voc", 80: "coco"}  # by number of classes
UNIT = {"0.weight": "conv.weight"} | {
    f"1.{key}": f"norm.{key}" for key in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
}


def holds_port(state: Mapping[str, Tensor]) -> bool:
    """Whether a state dict has the heads and residual blocks of the ports."""
    return FIRST_HEAD in state and "resblock.0.res1a.conv.weight" in state


def port_detector(
    state: Mapping[str, Tensor], path: Path, prior_sizes: str | None = None, input_size: int | None = None
) -> PeleePort:
    """Network of a state dict of the ports, in eval mode; `path` is for the messages.

    Args:
        state: tensors by the ports' names.
        path: the file.
        prior_sizes: a key of `PRIOR_SIZES`; by default that of VOC's or COCO's number of classes.
        input_size: side of the square input in pixels; by default 304, the ports' only one.

    Raises:
        WeightsError: another network, or one that is incomplete.
        SettingsError: priors that must be chosen.
    """
    weight = state[FIRST_HEAD]
    if weight.ndim != 4 or len(weight) % PRIORS_PER_CELL or len(weight) < 2 * PRIORS_PER_CELL:
        shown = "×".join(map(str, weight.shape))
        raise WeightsError(
            f"{path}: tensor {FIRST_HEAD} has the shape {shown}, expected 6 × (classes + 1) × 256 × 1 × 1"
        )
    num_classes = len(weight) // PRIORS_PER_CELL - 1
    chosen = prior_sizes or USUAL_PRIORS.get(num_classes)
    if chosen is None:
        raise SettingsError(f"{path} does not state its priors: choose --prior-sizes voc or coco, as it was trained")
    size = input_size or ARCHITECTURES["pelee-port"].input_size
    network = PeleePort(PeleePortConfig(num_classes, size, PRIOR_SIZES[chosen]))
    own_state, tensors, known = network.state_dict(), {}, set()
    for own, name in tensor_names():
        known.add(name)
        if name not in state:
            if name.endswith("num_batches_tracked"):  # files of PyTorch before 0.4.1 have none
                tensors[own] = own_state[own]
                continue
            raise WeightsError(f"{path}: has no tensor {name}; it is another network or incomplete")
        if state[name].shape != own_state[own].shape:
            shown, wanted = ("×".join(map(str, sides)) for sides in (state[name].shape, own_state[own].shape))
            raise WeightsError(f"{path}: tensor {name} has the shape {shown}, expected {wanted}")
        tensors[own] = state[name].to(own_state[own].dtype)
    if extra := [name for name in state if name not in known]:
        raise WeightsError(f"{path}: has a tensor {extra[0]}, which the ports' Pelee lacks")
    tensors[FIRST_LAYER] = tensors[FIRST_LAYER].flip(1)
    network.load_state_dict(tensors)
    return network.eval()


def tensor_names() -> Iterator[tuple[str, str]]:
    """Names of all tensors: in `PeleePort`, and in the ports' state dict."""
    units = [(f"backbone.{names.module}", names.torch) for names in unit_names((3, 4, 8, 6))]
    units += [(f"extras.{index}", f"extras.{index}") for index in range(len(EXTRAS))]
    for own, name in units:
        yield from ((f"{own}.{ours}", f"{name}.{theirs}") for ours, theirs in UNIT.items())
    for index in range(HEADS):
        for place, letter in ((0, "a"), (2, "b"), (4, "c")):
            yield f"blocks.{index}.residual.{place}.weight", f"resblock.{index}.res1{letter}.conv.weight"
        yield f"blocks.{index}.shortcut.0.weight", f"resblock.{index}.res2a.conv.weight"
        for part in ("weight", "bias"):
            yield f"heads.{index}.classify.{part}", f"conf.{index}.{part}"
            yield f"heads.{index}.regress.{part}", f"loc.{index}.{part}"
