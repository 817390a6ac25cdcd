"""Headers of a dataset's images: EXIF frames, other sizes, unreadable images."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.datasets.image_headers import check_headers, turn_boxes
from data.images.image_io import read_image
from tests.support.dataset_records import CAT, damaged_png, dataset, make_image, record

WIDTH, HEIGHT = 48, 32


def turned_image(path: Path, orientation: int) -> Path:
    """A black image with EXIF orientation; the box [4, 6, 12, 22] of the stored frame is white."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pixels[6:22, 4:12] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, exif=exif)
    return path


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_are_turned_as_the_pixels_are(tmp_path: Path, orientation: int) -> None:
    upright = read_image(turned_image(tmp_path / "a.png", orientation))
    rows, columns = np.nonzero(upright[..., 0])
    shown = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    boxes = np.array([[4, 6, 12, 22]], np.float32)
    np.testing.assert_array_equal(turn_boxes(boxes, (WIDTH, HEIGHT), orientation), [shown])


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_the_annotated_size_tells_the_frame(tmp_path: Path, orientation: int) -> None:
    path = turned_image(tmp_path / "a.jpg", orientation)
    stored = record(path, [[4, 6, 12, 22]], [CAT], size=(WIDTH, HEIGHT))
    upright = record(path, [[1, 2, 3, 4]], [CAT], size=(HEIGHT, WIDTH))
    checked = check_headers(dataset([stored, upright]))
    assert checked.records[0].size == (HEIGHT, WIDTH)
    x1, y1, x2, y2 = checked.records[0].boxes[0].astype(int)
    assert read_image(path)[y1 + 1 : y2 - 1, x1 + 1 : x2 - 1].min() > 200, "the box lies on the white object"
    assert checked.records[1] is upright
    assert len(checked.warnings) == 1 and checked.warnings[0].startswith("boxes turned by the EXIF orientation")


def test_a_half_turn_is_a_warning_as_the_size_cannot_tell(tmp_path: Path) -> None:
    stored = record(turned_image(tmp_path / "a.jpg", 3), [[4, 6, 12, 22]], [CAT], size=(WIDTH, HEIGHT))
    checked = check_headers(dataset([stored]))
    assert checked.records == [stored] and checked.warnings[0].startswith("EXIF orientation 3")


def test_another_size_scales_and_another_shape_warns(tmp_path: Path) -> None:
    path = make_image(tmp_path / "a.png", 100, 50)
    twice = record(path, [[20, 10, 40, 30]], [CAT], size=(200, 100))
    other = record(path, [[20, 10, 40, 30]], [CAT], size=(200, 120))
    unknown = record(path, [[20, 10, 40, 30]], [CAT], size=None)
    checked = check_headers(dataset([twice, other, unknown]))
    np.testing.assert_allclose(checked.records[0].boxes, [[10, 5, 20, 15]])
    assert checked.records[0].areas.tolist() == [100] and checked.records[0].size == (100, 50)
    assert checked.records[1] is other and checked.records[2].size == (100, 50)
    assert [line.partition(",")[0] for line in checked.warnings] == [
        "boxes scaled to the image",
        "annotated in another shape than the image",
    ]
    assert twice.size == (200, 100), "the original is unchanged"


def test_unreadable_images_are_dropped_and_named(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("hello")
    good = record(make_image(tmp_path / "a.png"), [[0, 0, 9, 9]], [CAT])
    bad = [record(tmp_path / name, [[0, 0, 9, 9]], [CAT]) for name in ("text.jpg", "gone.jpg")]
    calls: list[int] = []
    checked = check_headers(dataset([bad[0], good, bad[1]]), progress=calls.append)
    assert checked.records == [good] and sum(calls) == 3
    assert ["text.jpg" in checked.unreadable[0], "gone.jpg" in checked.unreadable[1]] == [True, True]


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp", ".gif", ".tif", ".ppm"])
def test_cut_off_images_are_dropped_and_those_with_bytes_behind_them_are_not(tmp_path: Path, suffix: str) -> None:
    whole = make_image(tmp_path / f"whole{suffix}", seed=2).read_bytes()
    (tmp_path / f"cut{suffix}").write_bytes(whole[: len(whole) // 2])
    (tmp_path / f"longer{suffix}").write_bytes(whole + b"bytes of a camera")
    records = [record(tmp_path / f"{name}{suffix}", [[0, 0, 9, 9]], [CAT]) for name in ("whole", "cut", "longer")]
    checked = check_headers(dataset(records))
    assert [one.image.stem for one in checked.records] == ["whole", "longer"]
    assert len(checked.unreadable) == 1 and f"cut{suffix}" in checked.unreadable[0]


def test_damage_in_the_middle_is_found_by_decoding(tmp_path: Path) -> None:
    damaged = dataset([record(damaged_png(tmp_path / "a.png"), [[0, 0, 9, 9]], [CAT])])
    assert len(check_headers(damaged).records) == 1
    checked = check_headers(damaged, decode=True)
    assert checked.records == [] and "a.png" in checked.unreadable[0]
