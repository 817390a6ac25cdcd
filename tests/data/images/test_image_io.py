"""Every way in which an image can be stored, and every way in which it can be damaged."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.errors import ImageError
from data.images.image_io import find_images, read_image, read_size, write_image


def encode(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=form, **options)
    return buffer.getvalue()


def make_image(height: int = 6, width: int = 8) -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_rgb_comes_back_as_it_was_from_a_path_a_string_and_bytes(tmp_path: Path) -> None:
    rgb = make_image()
    path = tmp_path / "a.png"
    write_image(path, rgb)
    for source in (path, str(path), path.read_bytes()):
        read = read_image(source)
        np.testing.assert_array_equal(read, rgb)
        assert read.dtype == np.uint8 and read.flags.c_contiguous and read.flags.writeable
    assert read_size(path) == (8, 6)


def test_grey_becomes_three_equal_channels() -> None:
    grey = make_image()[..., 0]
    read = read_image(encode(Image.fromarray(grey)))
    np.testing.assert_array_equal(read, np.repeat(grey[..., None], 3, axis=2))


def test_bilevel_becomes_black_and_white() -> None:
    read = read_image(encode(Image.fromarray(np.array([[True, False]]))))
    np.testing.assert_array_equal(read, [[[255] * 3, [0] * 3]])


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_not_clipped(form: str) -> None:
    values = np.array([[0, 257, 256 * 128, 65535]], dtype=np.uint16)
    read = read_image(encode(Image.fromarray(values), form))
    np.testing.assert_array_equal(read[0, :, 0], [0, 1, 128, 255])


def test_32_bit_and_floating_grey_are_scaled_by_the_range_of_their_values() -> None:
    def grey(values: list[float], dtype: type) -> list[int]:
        return read_image(encode(Image.fromarray(np.array([values], dtype=dtype)), "TIFF"))[0, :, 0].tolist()

    assert grey([0, 65535, 257], np.int32) == [0, 255, 1]
    assert grey([-1000, 0, 1000], np.int32) == [0, 128, 255]
    assert grey([0, 0.5, 1], np.float32) == [0, 128, 255]
    assert grey([0, 100, 255], np.float32) == [0, 100, 255]
    assert grey([float("nan"), 1, 0], np.float32) == [0, 255, 0]


def test_transparency_is_composited_onto_white() -> None:
    rgba = np.array([[[200, 0, 0, 0], [200, 0, 0, 255], [0, 0, 0, 127]]], dtype=np.uint8)
    read = read_image(encode(Image.fromarray(rgba)))
    np.testing.assert_array_equal(read[0], [[255, 255, 255], [200, 0, 0], [128, 128, 128]])
    grey_alpha = np.array([[[9, 0], [9, 255]]], dtype=np.uint8)
    np.testing.assert_array_equal(read_image(encode(Image.fromarray(grey_alpha)))[0, :, 1], [255, 9])


def test_a_palette_with_a_transparent_entry_is_composited_too() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    np.testing.assert_array_equal(read_image(encode(image))[0], [[10, 20, 30], [40, 50, 60]])
    read = read_image(encode(image, transparency=0))
    np.testing.assert_array_equal(read[0], [[255, 255, 255], [40, 50, 60]])


def test_cmyk_jpeg_has_the_colours_of_its_rgb_original() -> None:
    rgb = Image.new("RGB", (16, 16), (200, 40, 90))
    read = read_image(encode(rgb.convert("CMYK"), "JPEG", quality=95))
    assert np.abs(read.astype(int) - (200, 40, 90)).max() <= 4


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, lambda a: a),
        (2, lambda a: a[:, ::-1]),
        (3, lambda a: a[::-1, ::-1]),
        (4, lambda a: a[::-1]),
        (5, lambda a: a.transpose(1, 0, 2)),
        (6, lambda a: np.rot90(a, -1)),
        (7, lambda a: a[::-1, ::-1].transpose(1, 0, 2)),
        (8, lambda a: np.rot90(a, 1)),
    ],
)
def test_exif_orientation_is_applied_and_told_by_the_header(form: str, orientation: int, upright) -> None:  # type: ignore[no-untyped-def]
    rgb = make_image()
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if form == "WEBP" else {}
    content = encode(Image.fromarray(rgb), form, exif=exif, **options)
    read = read_image(content)
    np.testing.assert_array_equal(read, upright(rgb))
    assert read_size(content) == (read.shape[1], read.shape[0])


def test_an_orientation_without_meaning_is_ignored() -> None:
    exif = Image.Exif()
    exif[0x0112] = 77
    assert read_image(encode(Image.fromarray(make_image()), exif=exif)).shape == (6, 8, 3)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_truncated_file_is_one_line_that_names_it(form: str, tmp_path: Path) -> None:
    path = tmp_path / "half.bin"
    content = encode(Image.fromarray(make_image(64, 64)), form)
    path.write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(ImageError, match=r"half\.bin") as error:
        read_image(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"\xff\xd8\xff", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"\x89PNG\r\n\x1a\n"]
)
def test_what_is_no_image_is_refused(content: bytes) -> None:
    with pytest.raises(ImageError, match=f"image of {len(content)} bytes"):
        read_image(content)
    with pytest.raises(ImageError):
        read_size(content)


def test_random_damage_never_raises_anything_but_an_image_error() -> None:
    rng = np.random.default_rng(3)
    for form in ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP"):
        content = encode(Image.fromarray(make_image(32, 32)), form)
        for _ in range(60):
            damaged = bytearray(content)
            for position in rng.integers(0, len(content), 4):
                damaged[position] = int(rng.integers(256))
            try:
                read = read_image(bytes(damaged), max_pixels=100_000)
                assert read.ndim == 3 and read.shape[2] == 3 and read.dtype == np.uint8
            except ImageError:
                pass


def test_an_image_over_the_limit_is_refused_by_its_header() -> None:
    content = encode(Image.new("L", (100, 101)))
    assert read_image(content, max_pixels=10_100).shape == (101, 100, 3)
    with pytest.raises(ImageError, match="100 × 101 pixels are more than the limit of 10099"):
        read_image(content, max_pixels=10_099)
    # A header that promises 60,000 × 60,000 pixels, without any: were it decoded, the reason would be another one.
    bomb = encode(Image.new("1", (8, 8)), "BMP")
    bomb = bomb[:18] + (60_000).to_bytes(4, "little") * 2 + bomb[26:]
    with pytest.raises(ImageError, match=r"limit|exceeds|bomb"):
        read_image(bomb)


def test_missing_files_and_folders_are_image_errors(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"nothing\.jpg: No such file"):
        read_image(tmp_path / "nothing.jpg")
    with pytest.raises(ImageError, match=str(tmp_path)):
        read_image(tmp_path)
    with pytest.raises(ImageError):
        read_image("a\0b.jpg")


def test_write_image_makes_folders_and_refuses_other_suffixes(tmp_path: Path) -> None:
    smooth = np.full((20, 20, 3), (250, 120, 30), dtype=np.uint8)
    write_image(tmp_path / "new" / "a.jpg", smooth)
    assert np.abs(read_image(tmp_path / "new" / "a.jpg").astype(int) - smooth).max() <= 3
    with pytest.raises(ImageError, match=r"\.txt"):
        write_image(tmp_path / "a.txt", smooth)
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_find_images_takes_files_folders_and_patterns_each_once(tmp_path: Path) -> None:
    for name in ("b.jpg", "a.PNG", "notes.txt", ".hidden.jpg", "sub/c.webp", "sub/deep/d.jpeg", ".git/e.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    def found(*inputs: str) -> list[str]:
        return [path.relative_to(tmp_path).as_posix() for path in find_images([tmp_path / item for item in inputs])]

    everything = ["a.PNG", "b.jpg", "sub/c.webp", "sub/deep/d.jpeg"]
    assert found(".") == everything
    assert found("sub", ".", "b.jpg") == everything
    assert found("*.jpg") == ["b.jpg"]
    assert found("s*", "*") == everything
    assert found("**/*.jpeg") == ["sub/deep/d.jpeg"]
    assert found("notes.txt") == ["notes.txt"], "a file named outright is kept"
    assert find_images([]) == []


def test_find_images_names_what_is_missing_or_empty(tmp_path: Path) -> None:
    for item in ("nothing.jpg", "no*.jpg"):
        with pytest.raises(ImageError, match="no such file or folder"):
            find_images([tmp_path / item])
    with pytest.raises(ImageError, match="no images"):
        find_images([tmp_path])


def test_a_name_with_brackets_is_a_file_before_it_is_a_pattern(tmp_path: Path) -> None:
    (tmp_path / "a[1].jpg").touch()
    assert [path.name for path in find_images([tmp_path / "a[1].jpg"])] == ["a[1].jpg"]


@pytest.mark.parametrize(("cut", "missing"), [(2, "less than 1%"), (20, "less than 1%"), (None, "")])
def test_a_jpeg_without_its_end_is_an_error_or_a_warning(cut: int | None, missing: str) -> None:
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (64, 48, 3), np.uint8)
    Image.fromarray(pixels).save(file, "JPEG")
    whole, content = file.getvalue(), file.getvalue()[: None if cut is None else -cut]
    warnings: list[str] = []
    image = read_image(content, on_damage=warnings.append)
    assert image.shape == (64, 48, 3) and np.array_equal(image[:40], read_image(whole)[:40])
    if cut is None:
        assert warnings == []
        return
    assert warnings == [f"image of {len(content)} bytes: the JPEG is cut off; {missing} of its rows are missing"]
    with pytest.raises(ImageError, match="truncated"):
        read_image(content)


def test_how_much_of_a_jpeg_is_missing() -> None:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (400, 64, 3), np.uint8)).save(file, "JPEG")
    content = file.getvalue()
    warnings: list[str] = []
    read_image(content[: len(content) // 2], on_damage=warnings.append)
    assert 0.4 < int(warnings[0].rpartition("%")[0].rpartition(" ")[2]) / 100 < 0.6
    with pytest.raises(ImageError, match="cut off near its begin"):
        read_image(content[: content.find(b"\xff\xda") + 14], on_damage=warnings.append)


def test_heic_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.heic").write_bytes(b"\x00\x00\x00\x24ftypheic" + bytes(99))
    with pytest.raises(ImageError, match="not an image; HEIC is not supported, convert it to JPEG"):
        read_image(tmp_path / "a.heic")
