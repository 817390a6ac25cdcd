"""The page of the best and worst images: their order by hand, and what is drawn on them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.datasets.records import Record
from data.images.image_io import write_image
from detection.evaluation.sample_pages import COLORS, score_images, write_pages
from detection.evaluation.tide import Diagnosis, diagnose
from detection.inference.prediction import Prediction
from tests.support.metric_data import BOX, FAR, found, truth

NAMES = ["$dog", "cat"]
NOWHERE = (90.0, 0.0, 95.0, 5.0)


def pictures() -> tuple[list[Prediction], list[Record]]:
    return [
        found(),  # 0: an object and no word, F1 0
        found((BOX, 0.9, 0), (FAR, 0.9, 1)),  # 1: two right, 1
        found((BOX, 0.9, 0)),  # 2: one right, 1
        found((BOX, 0.9, 0), (NOWHERE, 0.9, 0)),  # 3: right and background, 2/3
        found(),  # 4: nothing there and nothing said: no score
        found((NOWHERE, 0.9, 0), (NOWHERE, 0.2, 1)),  # 5: two wrong, one of them above 0.5
        found((BOX, 0.9, 1)),  # 6: the only object misnamed
        found((BOX, 0.9, 0)),  # 7: a difficult one, found: no score
    ], [
        truth((BOX, 0)),
        truth((BOX, 0), (FAR, 1)),
        truth((BOX, 0)),
        truth((BOX, 0)),
        truth(),
        truth(),
        truth((BOX, 0)),
        truth((BOX, 0), difficult=(0,)),
    ]


def of_pictures() -> Diagnosis:
    return diagnose(*pictures(), NAMES)


def test_the_order_of_images_by_hand() -> None:
    scores = score_images(of_pictures(), 8, confidence=0.5)
    assert [(score.number, round(score.f1, 3)) for score in scores] == [
        (1, 1), (2, 1), (3, round(2 / 3, 3)), (0, 0), (5, 0), (6, 0)
    ]  # fmt: skip
    assert [tuple(score[2:]) for score in scores] == [(2, 0, 0), (1, 0, 0), (1, 1, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1)]


def test_a_higher_confidence_hides_errors_and_finds_less() -> None:
    by_number = {score.number: score for score in score_images(of_pictures(), 8, confidence=0.1)}
    assert by_number[5].wrong == 2
    assert all(score.f1 == 0 for score in score_images(of_pictures(), 8, confidence=0.95))


@pytest.fixture
def on_disk(tmp_path: Path) -> list[Record]:
    """The records with grey images of 100 × 80; the first one's is gone."""
    records = []
    for number, record in enumerate(pictures()[1]):
        path = tmp_path / "in" / f"{number}.png"
        if number:
            write_image(path, np.full((80, 100, 3), 128, np.uint8))
        records.append(replace(record, image=path, image_id=f"${number}"))
    return records


@pytest.mark.slow
def test_pages_show_kinds_in_their_colours(tmp_path: Path, on_disk: list[Record]) -> None:
    write_pages(of_pictures(), on_disk, NAMES, 0.5, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"best_pictures.png", "worst_pictures.png"}
    for name in ("best", "worst"):
        pixels = np.asarray(Image.open(tmp_path / "out" / f"{name}_pictures.png").convert("RGB"))
        body = pixels[90:]  # below the title and the legend
        for kind in (-1, 1, 4, 5):  # right, class, background, missed: all six images fit on either page
            colour = [int(COLORS[kind][place : place + 2], 16) for place in (1, 3, 5)]
            assert (body == colour).all(axis=2).sum() > 20, (name, kind)


def test_a_page_without_images_is_written_all_the_same(tmp_path: Path) -> None:
    write_pages(diagnose([found()], [truth()], NAMES), [truth()], NAMES, 0.5, tmp_path)
    assert (tmp_path / "worst_pictures.png").is_file()
