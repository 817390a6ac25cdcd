"""Named transforms of a batch: affine ones as one matrix per image, the others on the pixels.

The names and, unless noted, the ranges are those of imgaug's own example of common augmentations; the Tiny ImageNet
report trained with that library. Each image draws its own random numbers; only blur and color jitter, torchvision's,
draw them for `GROUP` images together. Images are padded by reflection; pixels stay in 0 to 255.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms import v2

GROUP = 8  # images that share a draw: one call per image would cost more than the network
GRID = 8  # cells of coarse dropout, across and down


def affine(names: Sequence[str], count: int) -> Tensor:
    """Compose the affine ones of these transforms in their order, with random numbers for each image.

    Returns:
        (count, 3, 3) float32, from output to input coordinates, -1 to 1 in both directions.
    """
    matrix = torch.eye(3).expand(count, 3, 3)
    for name in names:
        if name in AFFINE:
            matrix = matrix @ AFFINE[name](count)
    return matrix


def change_pixels(names: Sequence[str], images: Tensor) -> Tensor:
    """Apply the pixel transforms among these in their order to (N, 3, H, W) float, 0 to 255; same shape and range."""
    for name in names:
        if name in PIXELS and len(images):
            images = PIXELS[name](images)
    return images


def sample(images: Tensor, matrix: Tensor, size: int) -> Tensor:
    """Resample each image by its matrix, bilinear: (N, 3, H, W) uint8 or float -> (N, 3, size, size) float32.

    Args:
        matrix: (N, 3, 3), from output to input coordinates, see `affine`.
    """
    shape = [len(images), 3, size, size]
    grid = F.affine_grid(matrix[:, :2].to(images.device), shape, align_corners=False)
    return F.grid_sample(images.float(), grid, padding_mode="reflection", align_corners=False)


def flip(which: Tensor, axis: int) -> Tensor:
    """Matrices (N, 3, 3) that flip the images where `which` (N,) bool is true: axis 0 left to right, 1 upside down."""
    matrix = torch.eye(3).repeat(len(which), 1, 1)
    matrix[:, axis, axis] = torch.where(which, -1.0, 1.0)
    return matrix


def window(x: Tensor, y: Tensor, width: Tensor, height: Tensor) -> Tensor:
    """Matrices (N, 3, 3) that crop a window of each image: center, -1 to 1, and sides as shares of the image's.

    All are (N,); sides above 1 include padding, negative ones flip.
    """
    matrix = torch.eye(3).repeat(len(x), 1, 1)
    matrix[:, 0, 0], matrix[:, 1, 1], matrix[:, 0, 2], matrix[:, 1, 2] = width, height, x, y
    return matrix


def _uniform(count: int, low: float, high: float) -> Tensor:
    return torch.empty(count).uniform_(low, high)


def _flip(axis: int) -> Callable[[int], Tensor]:
    """Flip with a probability of one half."""
    return lambda count: flip(torch.rand(count) < 0.5, axis)


def _crop_and_pad(count: int) -> Tensor:
    """Crop up to 5 % of each side or pad it by up to 10 %, each side independently."""
    left, top, right, bottom = torch.empty(4, count).uniform_(-0.05, 0.1)
    return window(right - left, bottom - top, 1 + left + right, 1 + top + bottom)


def _scale(count: int) -> Tensor:
    """Scale the content to 80 to 120 %, both directions independently."""
    zero = torch.zeros(count)
    return window(zero, zero, 1 / _uniform(count, 0.8, 1.2), 1 / _uniform(count, 0.8, 1.2))


def _translate(count: int) -> Tensor:
    """Translate the content by up to 20 % of the side, in both directions."""
    one = torch.ones(count)
    return window(_uniform(count, -0.4, 0.4), _uniform(count, -0.4, 0.4), one, one)  # the side is 2 long


def _rotate(count: int) -> Tensor:
    """Rotate by up to 25 degrees in either direction."""
    angle = _uniform(count, -math.radians(25), math.radians(25))
    matrix = torch.eye(3).repeat(count, 1, 1)
    matrix[:, 0, 0] = matrix[:, 1, 1] = angle.cos()
    matrix[:, 0, 1], matrix[:, 1, 0] = -angle.sin(), angle.sin()
    return matrix


def _shear(count: int) -> Tensor:
    """Shear the content horizontally by up to 8 degrees in either direction."""
    matrix = torch.eye(3).repeat(count, 1, 1)
    matrix[:, 0, 1] = _uniform(count, -math.radians(8), math.radians(8)).tan()
    return matrix


def _in_groups(transform: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda images: torch.cat([transform(group) for group in images.split(GROUP)])


def _jitter() -> Callable[[Tensor], Tensor]:
    jitter = v2.ColorJitter(0.4, 0.4, 0.4, 0.1)
    return _in_groups(lambda images: jitter(images / 255) * 255)  # torchvision expects floats from 0 to 1


def _factors(images: Tensor, low: float, high: float) -> Tensor:
    """(N, 1, 1, 1), one random factor for each image."""
    return _uniform(len(images), low, high).to(images.device).view(-1, 1, 1, 1)


def _multiply(images: Tensor) -> Tensor:
    """Darken or brighten by a factor of 0.8 to 1.2."""
    return (images * _factors(images, 0.8, 1.2)).clamp(0, 255)


def _contrast(images: Tensor) -> Tensor:
    """Scale the difference from the middle, 127.5, by 0.75 to 1.5."""
    return ((images - 127.5) * _factors(images, 0.75, 1.5) + 127.5).clamp(0, 255)


def _coarse_dropout(images: Tensor) -> Tensor:
    """Set 3 to 15 % of the cells of an 8×8 grid over the image to black, in all channels.

    imgaug's cells are 2 to 5 % of the side, one to three pixels of a small image; here they are an eighth of the side.
    """
    share = _uniform(len(images), 0.03, 0.15).view(-1, 1, 1, 1)
    kept = (torch.rand(len(images), 1, GRID, GRID) >= share).float().to(images.device)
    return images * F.interpolate(kept, images.shape[-2:], mode="nearest")


AFFINE: dict[str, Callable[[int], Tensor]] = {
    "flip-horizontal": _flip(0),
    "flip-vertical": _flip(1),
    "crop-and-pad": _crop_and_pad,
    "scale": _scale,
    "translate": _translate,
    "rotate": _rotate,
    "shear": _shear,
}
PIXELS: dict[str, Callable[[Tensor], Tensor]] = {
    # Gaussian, sigma up to 1 pixel: imgaug's own range ends at 0.5, which is invisible at 64 pixels.
    "blur": _in_groups(v2.GaussianBlur(5, (0.1, 1.0))),
    "coarse-dropout": _coarse_dropout,
    "multiply": _multiply,
    "contrast": _contrast,
    # Brightness, contrast, saturation × 0.6 to 1.4, hue by up to a tenth of the circle, in random order.
    "colour-jitter": _jitter(),
}
