"""Model folders: what is written is what is read, and nothing else is."""

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data.errors import WeightsError
from tests.support.small_model import card, tensors
from weights import model_folders
from weights.card import Card
from weights.model_folders import shipped
from weights.store import ModelFile, count_parameters, load_tensors, resolve, save_model


@pytest.fixture
def model(tmp_path: Path) -> ModelFile:
    return save_model(tmp_path / "toy", tensors(), card())


def test_round_trip(model: ModelFile) -> None:
    given, read = tensors(), load_tensors(resolve(model.path.parent))
    assert set(read) == set(given)
    np.testing.assert_array_equal(read["conv.weight"], given["conv.weight"].astype(np.float16).astype(np.float32))
    for name in ("bn.weight", "bn.running_mean", "bn.running_var"):
        np.testing.assert_array_equal(read[name], given[name], err_msg="vectors keep their float32")
    assert read["bn.num_batches_tracked"] == 70_000
    assert read["bn.num_batches_tracked"].dtype == np.int64 and read["bn.num_batches_tracked"].shape == ()
    assert {read[name].dtype for name in read if "tracked" not in name} == {np.dtype(np.float32)}
    assert all(tensor.flags.writeable for tensor in read.values())


def test_the_card_is_completed(model: ModelFile) -> None:
    assert model.card.sha256 == hashlib.sha256(model.path.read_bytes()).hexdigest()
    assert model.card.file == model.path.name == f"model-{model.card.sha256[:8]}.safetensors"
    assert model.card.parameters == 4 * 3 * 3 * 3 + 4, "batch norm's statistics are not parameters"
    assert Card.load(model.path.parent) == model.card


def test_full_precision_and_overflow(tmp_path: Path) -> None:
    large = {"a": np.array([[70_000.0, 1.1]], np.float32), "b": np.array([[65_504.0, 1.1]], np.float32)}
    half = load_tensors(save_model(tmp_path / "half", large, card()))
    np.testing.assert_array_equal(half["a"], large["a"], err_msg="what float16 cannot hold stays float32")
    assert half["b"][0, 1] == np.float32(np.float16(1.1)) and half["b"][0, 0] == 65_504
    full = load_tensors(save_model(tmp_path / "full", large, card(), half=False))
    np.testing.assert_array_equal(full["b"], large["b"])


def test_memory_order_does_not_matter(tmp_path: Path) -> None:
    turned = np.arange(6, dtype=np.float32).reshape(2, 3).T
    read = load_tensors(save_model(tmp_path / "m", {"a": turned, "b": np.arange(9.0)[::2]}, card()))
    np.testing.assert_array_equal(read["a"], [[0, 3], [1, 4], [2, 5]])
    np.testing.assert_array_equal(read["b"], [0, 2, 4, 6, 8])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_neither_saved_nor_loaded(tmp_path: Path, value: float) -> None:
    bad = {"head.weight": np.array([[1.0, value]], np.float32)}
    with pytest.raises(WeightsError, match=r"'head\.weight' holds NaN"):
        save_model(tmp_path / "m", bad, card())
    assert not (tmp_path / "m").exists()

    from safetensors.numpy import save

    content = save(bad)
    (tmp_path / "w.safetensors").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    with pytest.raises(WeightsError, match=r"w\.safetensors: tensor 'head\.weight' holds NaN"):
        load_tensors(ModelFile(card(file="w.safetensors", sha256=digest), tmp_path / "w.safetensors"))


def test_one_flipped_bit_is_found(model: ModelFile) -> None:
    content = bytearray(model.path.read_bytes())
    content[-1] ^= 1
    model.path.write_bytes(content)
    found = hashlib.sha256(content).hexdigest()[:12]
    with pytest.raises(WeightsError, match=rf"SHA-256 is {found}, expected {model.card.sha256[:12]}"):
        load_tensors(model)


@pytest.mark.parametrize("kept", [0, 5, 100, -1])
def test_a_truncated_file_is_refused_even_under_a_matching_sum(model: ModelFile, kept: int) -> None:
    content = model.path.read_bytes()[:kept]
    model.path.write_bytes(content)
    with pytest.raises(WeightsError, match="SHA-256 is"):
        load_tensors(model)
    agreeing = ModelFile(replace(model.card, sha256=hashlib.sha256(content).hexdigest()), model.path)
    with pytest.raises(WeightsError, match="no readable safetensors file"):
        load_tensors(agreeing)


class Killed(BaseException):
    """A kill, as seen from inside."""


@pytest.mark.parametrize("at", [0, 1, "unlink"])
def test_a_kill_leaves_the_old_model_or_the_new(
    model: ModelFile, monkeypatch: pytest.MonkeyPatch, at: int | str
) -> None:
    """Die at the first rename (weights), at the second (card), or before the old weights are removed."""
    folder, calls, rename, unlink = model.path.parent, [], os.replace, Path.unlink

    def dying(source: Path, target: Path) -> None:
        if len(calls) == at:
            raise Killed
        calls.append(target)
        rename(source, target)

    def dying_unlink(self: Path, missing_ok: bool = False) -> None:
        if not self.name.startswith("."):
            raise Killed
        if self.exists():
            unlink(self)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", dying)
        if at == "unlink":
            patch.setattr(Path, "unlink", dying_unlink)
        with pytest.raises(Killed):
            save_model(folder, tensors(1), card(name="new"))
    survivor = resolve(folder)
    assert survivor.card.name == ("new" if at == "unlink" else "toy")
    expected = tensors(1 if at == "unlink" else 0)["bn.weight"]
    np.testing.assert_array_equal(load_tensors(survivor)["bn.weight"], expected)

    save_model(folder, tensors(2), card(name="newest"))
    assert len(list(folder.iterdir())) == 2, "the next save leaves the card and its weights only"
    np.testing.assert_array_equal(load_tensors(resolve(folder))["bn.weight"], tensors(2)["bn.weight"])


def test_saving_again_keeps_foreign_files(model: ModelFile) -> None:
    other = model.path.parent / "model-best.safetensors"
    other.write_bytes(b"mine")
    save_model(model.path.parent, tensors(1), card())
    assert other.read_bytes() == b"mine" and not model.path.exists()


def test_resolve_by_every_path(model: ModelFile, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = model.path.parent
    for way in (folder, str(folder), folder / "card.json", model.path, str(model.path)):
        assert resolve(way) == model
    monkeypatch.chdir(folder.parent)
    assert resolve("toy").card == model.card
    assert resolve("./toy").card == model.card


def test_shipped_names(model: ModelFile, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(model_folders, "SHIPPED_FOLDER", model.path.parent.parent)
    (tmp_path / "empty").mkdir()
    assert shipped() == ["toy"]
    here = tmp_path / "here"
    (here / "toy").mkdir(parents=True)
    monkeypatch.chdir(here)
    assert resolve("toy") == model, "a shipped name is not shadowed by a folder"
    with pytest.raises(WeightsError, match=r"'toi' is neither a shipped model \(toy\).*did you mean 'toy'\?"):
        resolve("toi")
    with pytest.raises(WeightsError, match="neither a shipped model"):
        resolve("")
    with pytest.raises(WeightsError, match=r"the folder holds no card\.json"):
        resolve("./toy")


def test_the_folder_of_a_training(model: ModelFile, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "last.ckpt").touch()
    with pytest.raises(WeightsError, match=r"a training without a model yet; --finish .*run of the command"):
        resolve(run)
    shutil.copytree(model.path.parent, run / "model")
    assert resolve(str(run)).card == model.card


def test_what_ships_is_whole() -> None:
    """Every shipped model opens and verifies."""
    for name in shipped():
        found = resolve(name)
        assert found.card.name == name
        assert count_parameters(load_tensors(found)) == found.card.parameters


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("model.pth", b"anything"),
        ("model.ckpt", b""),
        ("model.safetensors", b"PK\x03\x04zip"),
        ("model.safetensors", b"\x80\x02}q\x00."),
        ("model.safetensors", b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00}."),
    ],
)
def test_pickles_are_refused(tmp_path: Path, name: str, start: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(start)
    with pytest.raises(WeightsError, match=r"is a pickle.*only safetensors"):
        resolve(path)
    with pytest.raises(WeightsError, match=r"is a pickle.*only safetensors"):
        load_tensors(ModelFile(card(), path))


def test_a_header_of_640_bytes_is_no_pickle(tmp_path: Path) -> None:
    """Its length, little endian, starts like a pickle of protocol 2."""
    from safetensors.numpy import save

    content = next(
        content
        for length in range(700)
        if (content := save({"a" * length: np.ones(2, np.float32)})).startswith(b"\x80\x02")
    )
    (tmp_path / "model.safetensors").write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    (tmp_path / "card.json").write_text(card(file="model.safetensors", sha256=sha256).to_json())
    assert len(load_tensors(resolve(tmp_path))) == 1


def test_weights_without_their_card(tmp_path: Path, model: ModelFile) -> None:
    alone = tmp_path / "alone.safetensors"
    alone.write_bytes(model.path.read_bytes())
    with pytest.raises(WeightsError, match=r"has no card\.json next to it"):
        resolve(alone)
    stranger = model.path.parent / "stranger.safetensors"
    stranger.write_bytes(b"")
    with pytest.raises(WeightsError, match=f"the card next to it describes {model.path.name}"):
        resolve(stranger)
    (tmp_path / "image.jpg").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"is no \.safetensors file"):
        resolve(tmp_path / "image.jpg")
    model.path.unlink()
    with pytest.raises(WeightsError, match="no such file, expected the weights that"):
        resolve(model.path.parent)


def test_nothing_to_save(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no tensors"):
        save_model(tmp_path, {}, card())


@pytest.mark.slow
def test_import_is_light() -> None:
    """Neither torch nor safetensors nor pydantic comes in before weights are read."""
    code = "import sys, weights.store; print([m for m in ('torch', 'pydantic', 'safetensors') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
