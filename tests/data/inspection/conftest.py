"""A dataset without faults."""

from pathlib import Path

import pytest

from data.datasets.records import Dataset
from tests.support.dataset_records import CAT, DOG, dataset, make_image, record


@pytest.fixture
def clean(tmp_path: Path) -> Dataset:
    """Areas 100 (small), 32² and 95·96 (medium), 96² (large), and a crowd that counts for none."""
    first = record(
        make_image(tmp_path / "a.png"),
        [[0, 0, 10, 10], [10, 10, 42, 42], [0, 0, 95, 96], [100, 0, 196, 96]],
        [CAT, CAT, CAT, DOG],
    )
    second = record(make_image(tmp_path / "b.png", seed=1), [[0, 0, 200, 120]], [DOG], crowd=[1])
    return dataset([first, second])
