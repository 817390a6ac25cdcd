"""Hugging Face Hub, each case in a process of its own: the library reads its settings when it is imported."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from data.errors import WeightsError
from tests.support.hub_server import HubServer, hub_server
from tests.support.paths import ROOT
from tests.support.small_model import card, tensors
from weights.hub import download, is_hub_address
from weights.store import ModelFile, save_model

pytest.importorskip("huggingface_hub")


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with hub_server() as server:
        yield server


@pytest.fixture
def model(tmp_path: Path) -> ModelFile:
    return save_model(tmp_path / "model", tensors(), card(licence="Apache-2.0"))


def models(hub: HubServer, tmp_path: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `pelee-models`."""
    own = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "hf"), "HF_TOKEN": "hf_x", "PYTHONPATH": str(ROOT)}
    own |= {"PELEE_MODEL_FOLDER": str(tmp_path / "installed"), "HF_HUB_DISABLE_XET": "1"} | environment
    program = "import sys; from detection.commands.models import main; sys.exit(main())"
    command = [sys.executable, "-c", program, *words]
    return subprocess.run(command, env=os.environ | own, cwd=tmp_path, capture_output=True, text=True, timeout=100)


@pytest.mark.slow
def test_a_model_is_uploaded_downloaded_and_installed(hub: HubServer, model: ModelFile, tmp_path: Path) -> None:
    (model.path.parent / "notes.txt").write_text("no file of the model")
    pushed = models(hub, tmp_path, "push", str(model.path.parent), "hf://me/toy", "--private")
    assert pushed.returncode == 0, pushed.stderr
    assert pushed.stdout == f"{hub.endpoint}/me/toy\n"
    assert set(hub.repositories["me/toy"]) == {"README.md", "card.json", model.path.name}
    assert hub.private == {"me/toy"}
    page = hub.repositories["me/toy"]["README.md"].decode()
    assert page.startswith("---\nlibrary_name: pelee\npipeline_tag: object-detection\nlicense: apache-2.0\n---\n")

    hub.repositories["me/toy"]["malware.py"] = b"print('never fetched')"
    added = models(hub, tmp_path, "add", "hf://me/toy@main", "--name", "mine")
    assert added.returncode == 0, added.stderr
    assert (tmp_path / "installed" / "mine" / model.path.name).read_bytes() == model.path.read_bytes()
    assert not any("malware" in request for request in hub.requests)

    hub.requests.clear()
    offline = models(hub, tmp_path, "show", "hf://me/toy@main", HF_HUB_OFFLINE="1")
    assert offline.returncode == 0 and '"name": "toy"' in offline.stdout
    assert hub.requests == []


@pytest.mark.slow
def test_faults_are_one_line(hub: HubServer, model: ModelFile, tmp_path: Path) -> None:
    hub.repositories["me/empty"] = {"README.md": b""}
    hub.repositories["me/altered"] = {
        "card.json": (model.path.parent / "card.json").read_bytes(),
        model.path.name: model.path.read_bytes()[:-1] + b"?",
    }
    for address, reason in [
        ("hf://me/absent", "no such repository"),
        ("hf://me/empty@other", "no such revision"),
        ("hf://me/empty", "holds no card.json"),
        ("hf://me/altered", "SHA-256"),
    ]:
        result = models(hub, tmp_path, "add", address)
        assert result.returncode == 2 and result.stdout == ""
        assert reason in result.stderr and len(result.stderr.splitlines()) == 1, result.stderr
    result = models(hub, tmp_path, "add", "hf://me/never", HF_HUB_OFFLINE="1")
    assert result.returncode == 2 and "not in the Hub's cache" in result.stderr and len(result.stderr.splitlines()) == 1
    assert not list((tmp_path / "installed").glob("*"))


@pytest.mark.parametrize("address", ["hf://", "hf://name", "hf://a/b/c", "hf://a/../b", "hf://a/b@", "hf://ä/b"])
def test_malformed_addresses_ask_nothing(address: str) -> None:
    assert is_hub_address(address)
    with pytest.raises(WeightsError, match="expected hf://owner/name"):
        download(address)


def test_other_names_are_no_addresses() -> None:
    assert not is_hub_address("pelee-voc") and not is_hub_address("./hf:/a/b")
