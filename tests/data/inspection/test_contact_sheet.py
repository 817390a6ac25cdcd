"""Layout and drawing of the contact sheet."""

from pathlib import Path

import numpy as np
from PIL import Image

from data.datasets.records import Dataset
from data.inspection.contact_sheet import contact_sheet
from tests.support.dataset_records import CAT, dataset, record


def test_the_sheet_is_laid_out_in_cells(clean: Dataset) -> None:
    sheet = contact_sheet([clean], columns=6, cell=100)
    assert sheet.shape == (118, 200, 3), "two images make one row of two"
    assert sheet.dtype == np.uint8
    many = dataset(clean.records * 4)
    assert contact_sheet([many], count=7, columns=3, cell=100).shape == (3 * 118, 300, 3)
    np.testing.assert_array_equal(contact_sheet([many], seed=1, cell=50), contact_sheet([many], seed=1, cell=50))


def test_a_box_is_drawn_where_it_is(tmp_path: Path) -> None:
    """A black image of 192 × 96, shown at half its size, 96 × 48 in a cell of 100."""
    Image.new("RGB", (192, 96)).save(tmp_path / "black.png")
    one = dataset([record(tmp_path / "black.png", [[100, 40, 180, 88]], [CAT], size=(192, 96))])
    sheet = contact_sheet([one], count=1, cell=100)
    inside = sheet[18 + 26 : 18 + 26 + 48, 2:98].max(axis=2)  # the image's own place
    assert inside[30, 50] > 200, "left edge at 100 / 2"
    assert inside[30, 89] > 200, "right edge ends at 180 / 2"
    assert inside[43, 70] > 200, "bottom edge ends at 88 / 2"
    assert inside[38, 70] == 0, "nothing inside"
    assert inside[30, 92] == 0
    assert inside[46, 70] == 0
    assert inside[10, 20] == 0


def test_an_unreadable_image_leaves_its_cell(tmp_path: Path, clean: Dataset) -> None:
    sheet = contact_sheet([dataset([record(tmp_path / "none.jpg", [], [])])], cell=100)
    assert sheet.shape == (118, 100, 3)
    assert sheet.max() > 200, "and says so"
