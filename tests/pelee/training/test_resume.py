"""Resuming: lock, damaged checkpoints, moved folders, changed data, and which settings may change."""

import dataclasses
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from data.errors import SettingsError
from pelee.classification.training.lightning_module import ClassifierModule
from pelee.training.recipes import to_plain
from pelee.training.resume import check_output, check_resumed, load_checkpoint, lock, may_extend
from tests.support.tiny_training import Stop, run_small, small_sets, small_settings, watch

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("quiet_lightning")]


@dataclass(kw_only=True)
class Pair:
    """Two settings."""

    x: int = 1
    y: int = 2


def test_a_resumed_run_keeps_its_settings() -> None:
    begun = to_plain(Pair())
    check_resumed(begun, Pair(x=5), {"x"})
    with pytest.raises(SettingsError, match="begun with y 2 and cannot go on with 5"):
        check_resumed(begun, Pair(y=5), {"x"})


def test_output_of_an_earlier_run_is_resumed_or_kept(tmp_path: Path) -> None:
    check_output(tmp_path, resume=False)
    with pytest.raises(SettingsError, match="nothing to resume"):
        check_output(tmp_path, resume=True)
    (tmp_path / "last.ckpt").write_bytes(b"begun")
    check_output(tmp_path, resume=True)
    with pytest.raises(SettingsError, match="holds an earlier run; continue it with --resume"):
        check_output(tmp_path, resume=False)
    with pytest.raises(SettingsError, match="nothing to finish"):
        check_output(tmp_path / "other", resume=False, finish=True)


@pytest.mark.parametrize("place", ["best.ckpt", "model/card.json"])
def test_a_run_does_not_replace_what_an_earlier_one_left(tmp_path: Path, place: str) -> None:
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_bytes(b"earlier")
    with pytest.raises(SettingsError, match=f"holds the {place.partition('/')[0]} of an earlier run"):
        check_output(tmp_path, resume=False)


def test_a_file_in_the_place_of_the_model_is_found_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(b"a file")
    (tmp_path / "last.ckpt").write_bytes(b"begun")
    for resume, finish in ((False, False), (True, False), (False, True)):
        with pytest.raises(SettingsError, match="model is a file where the model's folder goes"):
            check_output(tmp_path, resume, finish)


# The folder


@pytest.mark.slow
def test_two_trainings_do_not_share_a_folder(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from pelee.training.resume import lock\n"
    code += "with lock(Path(sys.argv[1])): pass"
    command = [sys.executable, "-c", code, str(tmp_path / "run")]
    with lock(tmp_path / "run"):
        other = subprocess.run(command, capture_output=True, text=True, check=False)
        assert "another training runs in" in other.stderr
    assert not (tmp_path / "run").exists()  # it stayed empty
    assert subprocess.run(command, check=False).returncode == 0


def stopped_run(folder: Path, stop_at: int = 8, **changes: Any) -> Any:
    """Stop a run of 12 steps in its third epoch; returns its splits."""
    sets = small_sets(folder / "sets")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stop):
        watch(patch, stop_at=stop_at)
        run_small(sets, folder / "run", small_settings(**changes))
    return sets


def set_scores(monkeypatch: pytest.MonkeyPatch, *scores: float) -> None:
    """Let the validations of a run log these scores."""
    values = iter(scores)

    def validation_step(self: ClassifierModule, batch: Any, batch_idx: int) -> None:
        self.log("val/top1", next(values), batch_size=4)
        self.log("val/top5", 1.0, batch_size=4)

    monkeypatch.setattr(ClassifierModule, "validation_step", validation_step)


@pytest.mark.slow
def test_a_moved_run_keeps_its_best_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_scores(monkeypatch, 0.9, 0.5)
    sets = stopped_run(tmp_path)
    saved = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)
    assert str(tmp_path) not in str(saved["callbacks"])
    shutil.move(tmp_path / "run", tmp_path / "moved")
    best = (tmp_path / "moved" / "best.ckpt").read_bytes()
    set_scores(monkeypatch, 0.4, 0.3, 0.9)
    module = run_small(sets, tmp_path / "moved", small_settings(), resume=True)
    assert (tmp_path / "moved" / "best.ckpt").read_bytes() == best
    wanted = load_checkpoint(tmp_path / "moved" / "best.ckpt")["state_dict"]
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in module.state_dict().items())
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_best_checkpoint_that_is_gone_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_scores(monkeypatch, 0.9, 0.5)
    sets = stopped_run(tmp_path)
    (tmp_path / "run" / "best.ckpt").unlink()
    set_scores(monkeypatch, 0.4, 0.3, 0.4)
    run_small(sets, tmp_path / "run", small_settings(), resume=True)
    assert load_checkpoint(tmp_path / "run" / "best.ckpt")["global_step"] == 9


@pytest.mark.slow
def test_a_damaged_checkpoint_is_one_line(tmp_path: Path) -> None:
    sets = stopped_run(tmp_path)
    last = tmp_path / "run" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:1000])
    with pytest.raises(SettingsError, match=r"last.ckpt is damaged \(.*\); rename .*best.ckpt to last.ckpt") as error:
        run_small(sets, tmp_path / "run", small_settings(), resume=True)
    assert "\n" not in str(error.value)
    (tmp_path / "run" / "best.ckpt").replace(last)
    assert run_small(sets, tmp_path / "run", small_settings(), resume=True).global_step == 12


@pytest.mark.slow
def test_a_damaged_best_checkpoint_is_found_before_the_run_goes_on(tmp_path: Path) -> None:
    sets = stopped_run(tmp_path)
    best = tmp_path / "run" / "best.ckpt"
    best.write_bytes(best.read_bytes()[:1000])
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SettingsError, match=r"best.ckpt is damaged .*remove it"):
        watch(patch, stop_at=8)  # the first step, which is not made
        run_small(sets, tmp_path / "run", small_settings(), resume=True)
    best.unlink()
    assert run_small(sets, tmp_path / "run", small_settings(), resume=True).global_step == 12


@pytest.mark.slow
def test_changed_data_is_refused(tmp_path: Path) -> None:
    train_set, val_set = stopped_run(tmp_path)
    labels = train_set.dataset.labels.copy()
    labels[0] = 1 - labels[0]
    train_set.dataset = dataclasses.replace(train_set.dataset, labels=labels)
    with pytest.raises(SettingsError, match="the train split has changed since the run was begun"):
        run_small((train_set, val_set), tmp_path / "run", small_settings(), resume=True)


@pytest.mark.slow
def test_finish_takes_the_better_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    set_scores(monkeypatch, 0.9, 0.5)
    sets = stopped_run(tmp_path)
    set_scores(monkeypatch, 0.9, 0.5, 0.9)
    module = run_small(sets, tmp_path / "run", small_settings(), finish=True)
    assert "best.ckpt: step 3, val/top1 0.9000\nlast.ckpt: step 6, val/top1 0.5000\n" in capsys.readouterr().out
    wanted = load_checkpoint(tmp_path / "run" / "best.ckpt")["state_dict"]
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in module.state_dict().items())
    (tmp_path / "run" / "best.ckpt").unlink()
    set_scores(monkeypatch, 0.5)
    run_small(sets, tmp_path / "run", small_settings(), finish=True)


@pytest.mark.slow
def test_epochs_are_raised_where_no_rate_depends_on_them(tmp_path: Path) -> None:
    constant: dict[str, Any] = {"schedule": "multi-step", "milestones": ()}
    sets = stopped_run(tmp_path, **constant)
    module = run_small(sets, tmp_path / "run", small_settings(epochs=6, **constant), resume=True)
    assert module.global_step == 18
    begun = to_plain(small_settings())
    assert not may_extend(begun, small_settings(epochs=6), 12)  # cosine
    assert not may_extend(begun, small_settings(epochs=3, **constant), 12)
    assert not may_extend(begun, small_settings(epochs=6, warmup_steps=2, **constant), 12)
    with pytest.raises(SettingsError, match="epochs can be raised where"):
        check_resumed(begun, small_settings(epochs=6), set())


@pytest.mark.slow
def test_early_stopping_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    set_scores(monkeypatch, 0.9, 0.5, 0.5, 0.9)
    run_small(small_sets(tmp_path / "sets"), tmp_path / "run", small_settings(patience=2))
    said = "stopped early after epoch 3: val/top1 was not above 0.9000 in 2 validations (patience)"
    assert said in capsys.readouterr().out
