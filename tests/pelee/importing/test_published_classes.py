"""Class names by their number, or from a file."""

from pathlib import Path

import pytest

from data.datasets.voc import CLASS_NAMES
from data.errors import SettingsError
from pelee.importing.published_classes import name_classes


def test_known_numbers_have_their_datasets_names() -> None:
    assert tuple(name_classes(20).names) == CLASS_NAMES
    coco = name_classes(80).names
    assert len(set(coco)) == 80 and coco[:5] == ["person", "bicycle", "car", "motorcycle", "airplane"]
    assert (coco[11], coco[-1]) == ("stop sign", "toothbrush")  # categories 13 and 90 of COCO
    imagenet = name_classes(1000).names
    assert len(set(imagenet)) == 1000 and (imagenet[0], imagenet[281], imagenet[999]) == (
        "tench",
        "tabby",
        "toilet tissue",
    )


def test_names_of_a_file_replace_them(tmp_path: Path) -> None:
    file = tmp_path / "names.txt"
    file.write_text("chien\n\n Katze \nпёс\n", encoding="utf-8")
    assert name_classes(3, file).names == ["chien", "Katze", "пёс"]
    with pytest.raises(SettingsError, match="has 3 class names, the weights have 4"):
        name_classes(4, file)
    file.write_text("cat\ndog\ncat\n", encoding="utf-8")
    with pytest.raises(SettingsError, match=r"names\.txt has the class name 'cat' twice"):
        name_classes(3, file)
    with pytest.raises(SettingsError, match="no such file"):
        name_classes(4, tmp_path / "none.txt")


def test_other_number_without_names_is_refused() -> None:
    with pytest.raises(SettingsError, match="7 classes without names; give them with --classes"):
        name_classes(7)
