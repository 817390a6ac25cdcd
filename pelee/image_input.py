"""Image inputs of `Detector` and `Classifier`: paths, bytes, files, PIL images, arrays and tensors -> RGB arrays."""

import os
import sys
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Union

import numpy as np
from PIL import Image

from data.errors import ImageError
from data.images.image_io import read_image
from data.images.rgb_conversion import to_rgb
from data.images.value_range import to_uint8, value_range

if TYPE_CHECKING:
    from torch import Tensor

#: One image in any of the supported forms.
ImageInput = Union[str, "os.PathLike[str]", bytes, bytearray, memoryview, BinaryIO, Image.Image, np.ndarray, "Tensor"]
TOLERANCE = 0.002  # share of the range of floating-point values, half a step of 8 bits, by which they may be outside
_ORIENTATION_TAG = 0x0112
_EXPECTED = "expected a path, bytes, a binary file, a PIL image, an array (H, W, 3) or a tensor (3, H, W)"


def is_single(source: object) -> bool:
    """Whether `source` is one image; otherwise `list_images` iterates over its images."""
    array = _as_array(source)
    if array is not None:
        return array.ndim != 4 and not _is_list(array)
    return _is_encoded(source) or isinstance(source, Image.Image)


def list_images(source: Any) -> Iterable[Any]:
    """Return the images of a list, a generator, or a batch: an array (N, H, W, C) or a tensor (N, 3, H, W).

    Raises:
        ImageError: neither an image nor an iterable of images.
    """
    array = _as_array(source)
    if array is not None:
        return array
    if isinstance(source, Mapping) or not isinstance(source, Iterable):
        raise ImageError(f"a {type(source).__name__} is no image, {_EXPECTED}, or several of them")
    return source


def to_rgb_array(source: Any) -> np.ndarray:
    """Convert one image of any supported form to (H, W, 3) uint8 RGB.

    A file, its bytes and a PIL image give the same pixels: upright, transparency composited onto white. Arrays are RGB,
    gray (H, W) or (H, W, 1), or RGBA. Floating-point values are taken from 0 to 1 if none is above 1, else from 0 to
    255, each with `TOLERANCE` for rounding errors; 16-bit values are scaled by the smallest depth that holds them.
    Tensors are (3, H, W) or (1, H, W).

    A JPEG that is cut off is read with a `UserWarning`.

    Raises:
        ImageError: an image that cannot be read, or anything else.
    """
    array = _as_array(source)
    if array is not None:
        return _array_to_rgb(array)
    if isinstance(source, Image.Image):
        return _pil_to_rgb(source)
    if isinstance(source, (str, os.PathLike)):
        return read_image(Path(source), on_damage=warnings.warn)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return read_image(bytes(source), on_damage=warnings.warn)
    if hasattr(source, "read"):
        try:
            content = source.read()
        except (OSError, ValueError, NotImplementedError) as error:  # closed, write-only, a broken connection
            raise ImageError(f"a {type(source).__name__} cannot be read: {error or type(error).__name__}") from error
        if not isinstance(content, bytes):
            raise ImageError(f"a {type(source).__name__} returns text, expected a file opened in the mode 'rb'")
        return read_image(content, on_damage=warnings.warn)
    raise ImageError(f"a {type(source).__name__} is no image, {_EXPECTED}")


def _is_list(array: np.ndarray) -> bool:
    """Whether an array is a list of images, such as a table's column of paths."""
    return array.ndim == 1 and array.dtype.kind in "OU"


def _is_encoded(source: object) -> bool:
    return isinstance(source, (str, os.PathLike, bytes, bytearray, memoryview)) or hasattr(source, "read")


def _as_array(source: object) -> np.ndarray | None:
    """Return an array, or a tensor's with its channels last; None for anything else. Never imports torch."""
    if isinstance(source, np.ndarray):
        return source
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(source, getattr(torch, "Tensor", ())):
        return None
    tensor: Any = source
    if tensor.ndim not in (3, 4) or tensor.shape[-3] not in (1, 3):
        raise ImageError(
            f"a tensor of shape {tuple(tensor.shape)} is no image, expected (3, H, W) or several as (N, 3, H, W)"
        )
    tensor = tensor.detach().cpu()
    values: np.ndarray = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    return np.moveaxis(values, -3, -1)


def _array_to_rgb(array: np.ndarray) -> np.ndarray:
    found = f"an array of shape {array.shape} {array.dtype} is no image"
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim != 2 and not (array.ndim == 3 and array.shape[2] in (3, 4)):
        hint = ""
        if array.ndim == 3 and array.shape[0] in (1, 3, 4):
            hint = "; move the channels last with image.transpose(1, 2, 0)"
        raise ImageError(f"{found}, expected (H, W, 3), gray (H, W) or RGBA (H, W, 4){hint}")
    if array.size == 0:
        raise ImageError(f"{found}, expected at least one pixel")
    if array.dtype.kind == "u" and array.itemsize == 2:  # of either byte order
        array = to_uint8(array, *value_range([array]))
    elif array.dtype != np.uint8:
        array = _to_uint8(array, found)
    if array.ndim == 3 and array.shape[2] == 3:
        return array
    return _pil_to_rgb(Image.fromarray(np.ascontiguousarray(array)))


def _to_uint8(array: np.ndarray, found: str) -> np.ndarray:
    """Convert boolean, integer and floating-point values to 0..255; `ImageError` outside the expected range."""
    if array.dtype.kind not in "buif":
        raise ImageError(f"{found}, expected numbers")
    if array.dtype.kind == "b":
        return array.astype(np.uint8) * np.uint8(255)
    low, high = array.min(), array.max()
    slack = TOLERANCE if array.dtype.kind == "f" else 0
    top = 1 if array.dtype.kind == "f" and high <= 1 + slack else 255
    if not (low >= -slack * top and high <= (1 + slack) * top):  # NaN fails, too
        raise ImageError(
            f"{found}: its values are from {low} to {high}, expected 0 to 255, or 0 to 1 in floating point"
        )
    if array.dtype.kind == "f":
        array = np.rint((array.astype(np.float32) * (255 / top)).clip(0, 255))
    return array.astype(np.uint8)


def _pil_to_rgb(image: Image.Image) -> np.ndarray:
    try:
        image.load()
        orientation = image.getexif().get(_ORIENTATION_TAG, 1)
        return to_rgb(image, orientation if orientation in range(1, 9) else 1)
    except (OSError, ValueError, SyntaxError) as error:
        raise ImageError(f"a PIL image cannot be read: {str(error) or type(error).__name__}") from error
