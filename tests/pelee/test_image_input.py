"""Image inputs: every supported form gives the pixels of the file, everything else one kind of error."""

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from data.errors import ImageError
from pelee.image_input import is_single, list_images, to_rgb_array


@pytest.fixture
def rgb() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def test_paths_bytes_files_and_pil_images(rgb: np.ndarray, tmp_path: Path) -> None:
    content = png(Image.fromarray(rgb))
    path = tmp_path / "a.png"
    path.write_bytes(content)
    for source in (
        path, str(path), content, bytearray(content), memoryview(content), io.BytesIO(content), Image.open(path),
        Image.fromarray(rgb),
    ):  # fmt: skip
        assert is_single(source)
        np.testing.assert_array_equal(to_rgb_array(source), rgb)


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "CMYK"])
def test_pil_images_of_other_modes_are_as_their_files(rgb: np.ndarray, mode: str) -> None:
    image = Image.fromarray(rgb).convert(mode)
    if mode == "RGBA":
        image.putalpha(Image.fromarray(rgb[..., 0]))
    if mode == "CMYK":
        assert to_rgb_array(image).shape == rgb.shape
        return
    np.testing.assert_array_equal(to_rgb_array(image), to_rgb_array(png(image)))


def test_pil_images_are_turned_upright(rgb: np.ndarray) -> None:
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(rgb).save(file, "PNG", exif=exif)
    np.testing.assert_array_equal(to_rgb_array(Image.open(file)), np.rot90(rgb, -1))


def test_arrays(rgb: np.ndarray) -> None:
    gray = rgb[..., 0]
    three = np.repeat(gray[..., None], 3, 2)
    alpha = np.concatenate([rgb, np.full((6, 8, 1), 255, np.uint8)], 2)
    assert to_rgb_array(rgb) is rgb
    np.testing.assert_array_equal(to_rgb_array(gray), three)
    np.testing.assert_array_equal(to_rgb_array(gray[..., None]), three)
    np.testing.assert_array_equal(to_rgb_array(alpha), rgb)
    alpha[..., 3] = 0
    assert (to_rgb_array(alpha) == 255).all()  # transparent: onto white, as in a file
    for values in (rgb / 255, rgb.astype(np.float32) / 255, rgb.astype(np.float64), rgb.astype(np.int64)):
        np.testing.assert_array_equal(to_rgb_array(values), rgb)
    np.testing.assert_array_equal(to_rgb_array(gray > 99), np.where(three > 99, 255, 0))
    np.testing.assert_array_equal(to_rgb_array(gray.astype(np.uint16) * 257), three)
    np.testing.assert_array_equal(to_rgb_array(rgb[:, ::-1]), rgb[:, ::-1])


def test_sixteen_bits_of_any_channels_and_byte_order(rgb: np.ndarray) -> None:
    deep = rgb.astype(np.uint16) * 257
    gray = np.repeat(rgb[..., :1], 3, axis=2)
    for byte_order in "<>":
        np.testing.assert_array_equal(to_rgb_array(deep.astype(f"{byte_order}u2")), rgb)
        np.testing.assert_array_equal(to_rgb_array(deep[..., 0].astype(f"{byte_order}u2")), gray)
    twelve = np.rint(rgb / 255 * 4095).astype(np.uint16)
    np.testing.assert_array_equal(to_rgb_array(twelve), rgb)
    opaque = np.dstack([deep, np.full(rgb.shape[:2], 65535, np.uint16)])
    np.testing.assert_array_equal(to_rgb_array(opaque), rgb)


def test_rounding_errors_of_floating_point_do_not_change_the_range(rgb: np.ndarray) -> None:
    rgb[0, 0] = (0, 255, 255)
    share = rgb / 255
    share[0, 0] = (-1e-7, 1 + 1e-7, 1.001)  # as after a normalization and its inverse
    np.testing.assert_array_equal(to_rgb_array(share), rgb)
    np.testing.assert_array_equal(to_rgb_array(share.astype(np.float32) * 255), rgb)


@pytest.mark.parametrize("dtype", [object, str])
def test_a_column_of_paths_is_several_images(rgb: np.ndarray, tmp_path: Path, dtype: type) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png(Image.fromarray(rgb)))
    column = np.array([str(path), str(path)], dtype=dtype)
    assert not is_single(column)
    for source in list_images(column):
        np.testing.assert_array_equal(to_rgb_array(source), rgb)


def test_tensors(rgb: np.ndarray) -> None:
    tensor = torch.from_numpy(rgb).permute(2, 0, 1)
    assert is_single(tensor) and not is_single(tensor[None])
    for values in (tensor, tensor / 255, tensor.float(), (tensor / 255).requires_grad_()):
        np.testing.assert_array_equal(to_rgb_array(values), rgb)
    np.testing.assert_array_equal(to_rgb_array(tensor[:1]), np.repeat(rgb[..., :1], 3, 2))
    assert np.abs(to_rgb_array((tensor / 255).bfloat16()).astype(int) - rgb).max() <= 1
    batch = [to_rgb_array(image) for image in list_images(torch.stack([tensor, 255 - tensor]))]
    np.testing.assert_array_equal(batch, [rgb, 255 - rgb])


def test_several_images(rgb: np.ndarray) -> None:
    for several in ([rgb, rgb], (rgb, rgb), (rgb for _ in range(2)), np.stack([rgb, rgb]), iter([rgb, rgb])):
        assert not is_single(several)
        assert [to_rgb_array(image).shape for image in list_images(several)] == 2 * [rgb.shape]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (None, "a NoneType is no image, expected a path, bytes"),
        (7, "a int is no image"),
        (np.zeros((3, 4, 5), np.uint8), r"move the channels last with image.transpose\(1, 2, 0\)"),
        (np.zeros((4, 4, 2), np.uint8), r"shape \(4, 4, 2\) uint8 is no image"),
        (np.zeros(4, np.uint8), r"shape \(4,\)"),
        (np.zeros((0, 4, 3), np.uint8), "at least one pixel"),
        (np.full((4, 4, 3), -0.5), "values are from -0.5 to -0.5, expected 0 to 255, or 0 to 1 in floating point"),
        (np.full((4, 4, 3), np.nan), "values are from nan to nan"),
        (np.full((4, 4, 3), 256), "values are from 256 to 256"),
        (np.full((4, 4, 3), "a"), "expected numbers"),
        (torch.zeros(4, 4, 3), r"a tensor of shape \(4, 4, 3\) is no image, expected \(3, H, W\)"),
        (b"", "image of 0 bytes"),
        (io.StringIO("text"), "a StringIO returns text, expected a file opened in the mode 'rb'"),
        (io.BytesIO(b"no image"), "not an image"),
    ],
)
def test_everything_else_is_an_image_error(source: Any, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        to_rgb_array(source)


def test_a_file_that_cannot_be_read_is_an_image_error(tmp_path: Path) -> None:
    closed = io.BytesIO()
    closed.close()
    with (tmp_path / "a").open("wb") as write_only:
        for source in (closed, write_only, io.RawIOBase()):
            with pytest.raises(ImageError, match=f"a {type(source).__name__} cannot be read"):
                to_rgb_array(source)


def test_a_mapping_and_a_number_are_not_several_images() -> None:
    for source in ({"image": 1}, 7, None):
        with pytest.raises(ImageError, match="is no image"):
            list_images(source)


def test_a_damaged_pil_image_is_an_image_error(rgb: np.ndarray) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    image = Image.open(io.BytesIO(png(Image.fromarray(noise))[:5000]))
    with pytest.raises(ImageError, match="a PIL image cannot be read"):
        to_rgb_array(image)


def test_torch_is_not_imported(rgb: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch")
    assert to_rgb_array(rgb) is rgb and "torch" not in sys.modules
