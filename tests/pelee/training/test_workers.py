"""Workers: cores and shared memory limit them, and the reason is given."""

from pathlib import Path
from typing import Any, cast

import pytest
from torch.utils.data import DataLoader

from pelee.training import workers
from pelee.training.optimization import OptimizationSettings
from pelee.training.workers import describe_lost_worker, free_shared_memory, resolve_workers, start_worker
from tests.support.paths import ROOT


@pytest.mark.parametrize(
    ("wanted", "cores", "free", "on_gpu", "expected", "reason"),
    [
        (None, 16, 10**10, True, 8, "16 cores"),
        (None, 4, 10**10, True, 4, "4 cores"),
        (None, 16, 10**10, False, 0, ""),
        (4, 16, 10**10, False, 4, ""),
        (8, 2, 10**10, False, 2, "this machine has 2 cores"),
        (8, 16, 64 * 10**6, True, 4, "has 64 MB free, and a worker needs 12 MB"),
        (1, 16, 3 * 10**6, False, 0, "has 3 MB free"),
        (0, 16, 0, False, 0, ""),
        (8, 16, None, False, 8, ""),
    ],
)
def test_workers_follow_the_machine(
    monkeypatch: pytest.MonkeyPatch,
    wanted: int | None,
    cores: int,
    free: int | None,
    on_gpu: bool,
    expected: int,
    reason: str,
) -> None:
    monkeypatch.setattr(workers, "usable_cores", lambda: cores)
    monkeypatch.setattr(workers, "free_shared_memory", lambda: free)
    settings, said = resolve_workers(OptimizationSettings(workers=wanted), 4 * 10**6, on_gpu=on_gpu)
    assert settings.workers == expected
    assert reason in said and bool(said) == bool(reason)


def test_processes_share_cores_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "usable_cores", lambda: 16)
    monkeypatch.setattr(workers, "free_shared_memory", lambda: 10**8)
    settings, _ = resolve_workers(OptimizationSettings(workers=8), 10**6, on_gpu=True, devices=4)
    assert settings.workers == 4
    settings, _ = resolve_workers(OptimizationSettings(workers=8), 10**7, on_gpu=True, devices=2)
    assert settings.workers == 1


def test_free_shared_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(workers, "SHARED_MEMORY", tmp_path / "absent")
    assert free_shared_memory() is None
    monkeypatch.setattr(workers, "SHARED_MEMORY", tmp_path)
    assert free_shared_memory()


class _Full:
    """A batch that cannot be handed over, as where the shared memory is full."""

    def __reduce__(self) -> tuple[object, ...]:
        raise OSError("no space left")


def _batch(_: object) -> _Full:
    return _Full()


@pytest.mark.slow
def test_a_worker_that_cannot_hand_over_a_batch_ends_with_an_error_instead_of_a_hang() -> None:
    loader: DataLoader[int] = DataLoader(
        cast(Any, range(2)), collate_fn=_batch, num_workers=1, worker_init_fn=start_worker
    )
    with pytest.raises(RuntimeError) as error:
        list(loader)
    text = describe_lost_worker(error.value)
    assert text is not None and text.startswith("a worker process that reads images ended (DataLoader worker (pid")
    assert "\n" not in text and text.endswith("take fewer --workers")
    assert describe_lost_worker(RuntimeError("shapes do not fit")) is None


def test_all_loaders_start_their_workers_so() -> None:
    for file in (
        "detection/training/dataset.py",
        "detection/training/lightning_module.py",
        "pelee/classification/training/lightning_module.py",
    ):
        text = (ROOT / file).read_text(encoding="utf-8")
        assert 0 < text.count(" DataLoader(") == text.count("worker_init_fn=start_worker"), file
